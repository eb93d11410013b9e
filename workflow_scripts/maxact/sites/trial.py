"""One pass of a few tokens through an unknown decoder, and what happened in it.

Tensors are told apart by their values, whatever their shape: a tensor that a module returns and the same one, reshaped,
as an operand of an addition have one key. What is recorded: every call of a module, what attention functions are given,
and from which operands each sum and product is made.

Shapes: T tokens, C channels.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from maxact.sites.attention import spied_attention
from maxact.sites.find import Place

Key = bytes
TOKENS = (1, 5, 3, 2, 7, 4, 6)
"""Seven, which is no usual size of anything else."""

NORM_CLASS = re.compile(r"norm(gated|1p|\d?d|\d)?$", re.I)
NORM_NAME = re.compile(r"norm|^ln_|layer_?norm", re.I)
SUMS = ("add", "add_")
PRODUCTS = ("mul", "mul_", "div", "div_")


def key_of(x: Tensor) -> Key | None:
    """Of the values; None for nothing but zeros, which say nothing."""
    flat = x.detach().float().reshape(-1).cpu()
    if not flat.numel() or not flat.any():
        return None
    return hashlib.blake2b(flat.numpy().tobytes(), digest_size=16).digest()


@dataclass(eq=False)
class Value:
    """A tensor that went into a module or came out of it.

    Attributes:
        where: position or keyword of an input, index or field of an output among several, None for a lone one.
    """

    where: int | str | None
    x: Tensor
    key: Key | None

    @property
    def width(self) -> int:
        return self.x.shape[-1] if self.x.dim() else 0


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: of the module in the decoder.
        number: which call of this module in the pass.
        start: when it began; `end` when it returned. Every event has a time of its own.
    """

    module: Any
    name: str
    number: int
    start: int
    end: int = -1
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    attended: list[dict[str, Tensor]] = field(default_factory=list)

    def within(self, other: Call) -> bool:
        """Whether it ran inside another call."""
        return other.start < self.start and self.end < other.end

    def rows(self, values: list[Value], width: int) -> Value | None:
        """The first with a row of so many channels for each token, tokens before channels and after the batch."""
        shapes = (1, len(TOKENS), width), (len(TOKENS), width)
        return next((value for value in values if tuple(value.x.shape) in shapes), None)


@dataclass(frozen=True)
class Made:
    """How a tensor was made.

    Attributes:
        kind: a sum, a product, or a norm of its one operand.
        whole: operands with as many values as the result; a factor that is a number or a vector is not among them.
        by: the norm.
    """

    kind: Literal["sum", "product", "norm"]
    whole: tuple[Key | None, ...]
    time: int
    by: Call | None = None


class Trial:
    """What happened in one pass."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.calls: list[Call] = []
        self.made: dict[Key, Made] = {}
        self.last: Tensor | None = None
        self.time = 0
        self._open: list[Call] = []
        self._numbers: dict[int, int] = {}

    def tick(self) -> int:
        self.time += 1
        return self.time

    def times(self, module: Any) -> int:
        """How often a module was called."""
        return self._numbers.get(id(module), 0)

    def inside(self, call: Call) -> list[Call]:
        """The calls within a call, in order of their start."""
        return [other for other in self.calls if other.within(call)]

    def run(self) -> None:
        """The pass. Raises whatever the decoder raises."""
        vocabulary = getattr(self.decoder.config, "vocab_size", 8)
        device = next(self.decoder.parameters()).device
        ids = torch.tensor([[token % vocabulary for token in TOKENS]], device=device)
        with ExitStack() as stack:
            for name, module in self.decoder.named_modules():
                for handle in self._hooks(name, module):
                    stack.callback(handle.remove)
            stack.enter_context(spied_attention(self._attend))
            stack.enter_context(torch.inference_mode())
            stack.enter_context(_Arithmetic(self))
            output = self.decoder(input_ids=ids, use_cache=False)
        self.calls.sort(key=lambda call: call.start)
        if getattr(output, "logits", None) is not None:  # some decoders have the head in them
            head = next(call for call in self.calls if call.module is self.decoder.get_output_embeddings())
            self.last = head.inputs[0].x
        else:
            last = getattr(output, "last_hidden_state", None)
            self.last = output[0] if last is None else last

    def _hooks(self, name: str, module: Any) -> Iterator[Any]:
        def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            number = self._numbers.get(id(module), 0)
            self._numbers[id(module)] = number + 1
            call = Call(module, name, number, self.tick())
            call.inputs = [*_values(dict(enumerate(arguments))), *_values(keywords)]
            self._open.append(call)

        def after(_: Any, __: Any, output: Any) -> None:
            call = self._open.pop()
            call.outputs = list(_values(_named(output)))
            call.end = self.tick()
            self.calls.append(call)
            if is_norm(call) and call.inputs and call.outputs and (key := call.outputs[0].key) is not None:
                self.made[key] = Made("norm", (call.inputs[0].key,), call.end, call)

        yield module.register_forward_pre_hook(before, with_kwargs=True)
        yield module.register_forward_hook(after)

    def _attend(self, module: Any, given: dict[str, Tensor]) -> None:
        call = next((call for call in reversed(self._open) if call.module is module), None)
        if call is not None:
            call.attended.append(given)


class _Arithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, sums and products are recorded."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trial = trial

    def __torch_dispatch__(self, function: Any, _: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__
        kind: Literal["sum", "product"] | None
        kind = "sum" if name in SUMS else "product" if name in PRODUCTS else None
        if kind is None or (keywords or {}).get("alpha", 1) != 1:
            return function(*arguments, **(keywords or {}))
        operands = [x for x in arguments[:2] if isinstance(x, Tensor)]
        size = max(x.numel() for x in operands)
        whole = tuple(key_of(x) for x in operands if x.numel() == size)
        output = function(*arguments, **(keywords or {}))
        key = key_of(output) if output.is_floating_point() else None
        if key is not None and key not in whole and key not in self._trial.made:
            self._trial.made[key] = Made(kind, whole, self._trial.tick())
        return output


def _named(output: Any) -> dict[Any, Any]:
    """What a module returned, by index or field; by None where it returned one thing."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    return vars(output) if is_dataclass(output) else {None: output}


def _values(named: dict[Any, Any]) -> Iterator[Value]:
    for where, x in named.items():
        if isinstance(x, Tensor):
            yield Value(where, x.detach().clone(), key_of(x) if x.is_floating_point() else None)


def is_norm(call: Call) -> bool:
    """Whether a module's name or class says that it is a norm, and it is no larger module that is named after one."""
    kind, name = type(call.module).__name__, call.name.rpartition(".")[2]
    named = bool(NORM_CLASS.search(kind) or NORM_NAME.search(name))
    return named and not any(isinstance(child, torch.nn.Linear) for child in call.module.modules())


def taken(trial: Trial, call: Call, value: Value, part: slice | None = None) -> Place:
    """The place of one input or output of a call."""
    several = {"call": call.number, "decoder": trial.decoder} if trial.times(call.module) > 1 else {}
    if any(value is known for known in call.outputs):
        return Place(call.module, index=value.where, part=part, **several)
    if isinstance(value.where, str):
        return Place(call.module, before=True, keyword=value.where, part=part, **several)
    return Place(call.module, before=True, part=part, **several)
