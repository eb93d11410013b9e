"""The inside of routed experts whose weights are in one tensor: gates and inputs of the down projection.

transformers computes such experts in one of several ways, each with the rows in another order. Here rows come in the order
of (token, expert), with the token and the expert of each beside them.

Shapes: T tokens, K experts chosen by each, R = T K rows, I channels inside an expert.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from maxact.sites.components import INSIDE_EXPERTS


@dataclass(frozen=True)
class Routing:
    """Whose rows a tensor inside routed experts has, in order of (token, expert).

    Attributes:
        token_R: which row of the pass each row is of, int64 [rows].
        expert_R: the expert that it went through, int64 [rows].
    """

    token_R: Tensor
    expert_R: Tensor


def chosen_TK(experts: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Tensor:
    """The experts of each token, which fused experts are given after the hidden states."""
    if len(arguments) > 1:
        chosen: Tensor = arguments[1]
        return chosen
    second = list(inspect.signature(type(experts).forward).parameters)[2]  # after self
    chosen = keywords[second]
    return chosen


def computed_order(index_TK: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    """Token and expert of each row, in the order in which an implementation computes rows.

    "grouped_mm" sorts by expert, by the same call as here; "batched_mm" goes from token to token; "eager" from expert to
    expert, and within one first through the tokens that chose it first.
    """
    tokens, chosen = index_TK.shape
    if implementation == "eager":
        expert_R, order = torch.sort(index_TK.T.reshape(-1), stable=True)
        return order % tokens, expert_R
    if implementation == "grouped_mm":
        expert_R, order = torch.sort(index_TK.reshape(-1))
        return order // chosen, expert_R
    order = torch.arange(index_TK.numel(), device=index_TK.device)
    return order // chosen, index_TK.reshape(-1)


class ExpertTap:
    """Shows the inside of one module of fused experts while entered; wraps its `forward`, `_apply_gate` and activation."""

    def __init__(self, experts: Any, see: Mapping[str, Sequence[Callable[[Tensor, Routing], None]]]) -> None:
        self._experts = experts
        self._see = see
        self._rows: dict[str, list[Tensor]] = {name: [] for name in INSIDE_EXPERTS}
        self._gating = False

    def __enter__(self) -> ExpertTap:
        self._stack = ExitStack()
        self._wrap("forward", self._forward)
        self._wrap("_apply_gate", self._apply_gate)
        activation = getattr(self._experts, "act_fn", None)
        if isinstance(activation, torch.nn.Module):
            self._stack.callback(activation.register_forward_pre_hook(self._before_activation).remove)
            self._stack.callback(activation.register_forward_hook(self._after_activation).remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def _wrap(self, name: str, around: Callable[..., Any]) -> None:
        attributes, inner = vars(self._experts), getattr(self._experts, name)
        if name in attributes:
            self._stack.callback(attributes.__setitem__, name, inner)
        else:
            self._stack.callback(attributes.pop, name)
        attributes[name] = lambda *arguments, **keywords: around(inner, *arguments, **keywords)

    @property
    def _one_by_one(self) -> bool:
        """Whether experts are computed in a loop, in which some apply gate and activation without `_apply_gate`."""
        return bool(self._experts.config._experts_implementation == "eager")

    def _forward(self, inner: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        self._rows = {name: [] for name in INSIDE_EXPERTS}
        self._gating = False
        index_TK = chosen_TK(self._experts, arguments, keywords).long()
        with _Multiplied(self._experts, self._keep) if self._one_by_one else nullcontext():
            output = inner(*arguments, **keywords)
        self._deliver(index_TK)
        return output

    def _deliver(self, index_TK: Tensor) -> None:
        token_R, expert_R = computed_order(index_TK, self._experts.config._experts_implementation)
        experts = self._experts.num_experts
        order = torch.argsort(token_R * (experts + 1) + expert_R)
        order = order[expert_R[order] < experts]  # a higher number stands for an expert on another device
        routing = Routing(token_R[order], expert_R[order])
        for name, taps in self._see.items():
            seen = sum(len(x_RI) for x_RI in self._rows[name])
            if seen != len(token_R):
                raise RuntimeError(f"{name}: {seen} rows seen for {len(token_R)} pairs of token and expert")
            x_RI = torch.cat(self._rows[name])[order]
            for see in taps:
                see(x_RI, routing)
        self._rows = {name: [] for name in INSIDE_EXPERTS}

    def _apply_gate(self, inner: Callable[[Tensor], Tensor], both_RI: Tensor) -> Tensor:
        """Gate and up projection come together, in two halves or interleaved."""
        concatenated = self._experts.is_concatenated
        self._keep("expert_gate", both_RI.chunk(2, dim=-1)[0] if concatenated else both_RI[..., ::2])
        self._gating = True
        output = inner(both_RI)
        self._gating = False
        if not self._one_by_one:
            self._keep("expert_down_input", output)
        return output

    def _before_activation(self, _: Any, arguments: tuple[Any, ...]) -> None:
        if self._one_by_one and not self._gating:
            self._keep("expert_gate", arguments[0])

    def _after_activation(self, _: Any, __: Any, output: Tensor) -> None:
        if not self._one_by_one and not self._experts.has_gate:
            self._keep("expert_down_input", output)

    def _keep(self, name: str, x_RI: Tensor) -> None:
        if name in self._see:
            self._rows[name].append(x_RI.clone())  # what comes next may work in place


class _Multiplied(TorchFunctionMode):
    """Inside, what is multiplied with one expert's down projection is kept."""

    def __init__(self, experts: Any, keep: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self._experts = experts
        self._keep = keep

    def __torch_function__(self, function: Any, _: Any, arguments: Any = (), keywords: Any = None) -> Any:
        output = function(*arguments, **(keywords or {}))
        if getattr(function, "__name__", "") in ("linear", "matmul", "__matmul__"):
            x_RI, weight = arguments[:2]
            whole = self._experts.down_proj
            if 0 <= weight.data_ptr() - whole.data_ptr() < whole.numel() * whole.element_size():
                self._keep("expert_down_input", x_RI)
        return output
