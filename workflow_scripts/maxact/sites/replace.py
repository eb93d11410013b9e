"""Tensors of sites replaced during a forward pass: what comes after a site works with another tensor in its place.

`taps.py` looks; this changes. Modules are given other arguments, or return other outputs, by hooks; queries, keys and values
are exchanged around the function that transformers' attention interface gives out. Nothing is written into a tensor of the
pass, so what else holds the old one keeps it: the residual stream around a block's norm, for instance.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from maxact.sites.attention import GIVEN, wrapped_attention
from maxact.sites.find import Place, Site

Change = Callable[[Site, Tensor], Tensor]
"""Given a site and its tensor [..., channels], the tensor that takes its place: of that shape and dtype."""

INSIDE_FUSED = "inside routed experts that are computed in one call"

_SHARED = ("attention_input", "mlp_input")
"""What several projections are given."""


def not_replaceable(site: Site) -> str | None:
    """Why the tensor of a site cannot be replaced; None where it can."""
    if site.place is None:
        return site.reason
    return INSIDE_FUSED if site.place.inside not in (None, *GIVEN) else None


@contextmanager
def replaced(decoder: nn.Module, sites: Sequence[Site], change: Change) -> Iterator[Counter[int]]:
    """Inside, what comes after a site in a pass of `decoder` is given `change(site, x)`; yields how often, by site number.

    Where the place of a site is a bare projection, as with the structural adapter, the projections beside it that are given
    the very same tensor are given the new one too.

    Raises:
        ValueError: a site cannot be replaced.
        RuntimeError: in a pass, `change` gives another shape or dtype.
    """
    refused = next((site for site in sites if not_replaceable(site)), None)
    if refused is not None:
        raise ValueError(f"{refused.component}@{refused.layer}: {not_replaceable(refused)}")
    done: Counter[int] = Counter()
    swaps = [_Swap(site, change, done) for site in sites]
    with ExitStack() as stack:
        for swap in swaps:
            for handle in _hooks(decoder, swap):
                stack.callback(handle.remove)
        attending = [swap for swap in swaps if swap.place.inside in GIVEN]
        if attending:
            stack.enter_context(_exchanged(attending))
        yield done


class _Swap:
    """One site in a pass; counts the calls of its module where only one of them is the site."""

    def __init__(self, site: Site, change: Change, done: Counter[int]) -> None:
        assert site.place is not None
        self.site, self.place = site, site.place
        self._change, self._done = change, done
        self._calls = 0
        self.last: tuple[Tensor, Tensor] | None = None

    def begin(self, *_: Any) -> None:
        self._calls, self.last = 0, None

    def is_here(self) -> bool:
        """Whether this call of the module is the site."""
        self._calls += 1
        return self.place.call is None or self.place.call == self._calls - 1

    def new(self, x: Tensor) -> Tensor:
        """What takes the place of x, laid out in memory as x is, so that equal values give equal bits."""
        made = self._change(self.site, x)
        if made.shape != x.shape or made.dtype != x.dtype:
            name = f"{self.site.component}@{self.site.layer}"
            raise RuntimeError(f"{name}: {made.dtype} {tuple(made.shape)} for {x.dtype} {tuple(x.shape)}")
        self._done[self.site.number] += 1
        return _laid_out_as(x, made)


def _laid_out_as(x: Tensor, made: Tensor) -> Tensor:
    return made if made.stride() == x.stride() else torch.empty_like(x).copy_(made)


def _hooks(decoder: nn.Module, swap: _Swap) -> Iterator[Any]:
    place = swap.place

    def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if not swap.is_here():
            return None
        given = arguments[0] if arguments else keywords[place.keyword]
        made = _with(place, given, swap.new(place.take(given)))
        swap.last = (given, made)
        return _given(made, place.keyword, arguments, keywords)

    def beside(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        names = [None] if arguments else [name for name in keywords if swap.last and keywords[name] is swap.last[0]]
        if swap.last is None or not names or (arguments and arguments[0] is not swap.last[0]):
            return None
        return _given(swap.last[1], names[0] or "", arguments, keywords)

    def after(_: Any, __: Any, output: Any) -> Any:
        return _with(place, output, swap.new(place.take(output))) if swap.is_here() else None

    yield decoder.register_forward_pre_hook(swap.begin)
    if place.inside is not None:
        return
    if not place.before:
        yield place.module.register_forward_hook(after)
        return
    yield place.module.register_forward_pre_hook(before, with_kwargs=True)
    if swap.site.component in _SHARED and place.part is None:
        for module in _beside(decoder, place.module):
            yield module.register_forward_pre_hook(beside, with_kwargs=True)


def _given(made: Any, keyword: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Arguments and keywords of a call with another first input."""
    return ((made, *arguments[1:]), keywords) if arguments else (arguments, {**keywords, keyword: made})


def _beside(decoder: nn.Module, module: nn.Module) -> list[nn.Module]:
    """The other projections in the parent of one that has no modules inside."""
    if next(module.children(), None) is not None:
        return []
    path = next(name for name, one in decoder.named_modules() if one is module).rpartition(".")[0]
    inside = decoder.get_submodule(path).modules()
    return [one for one in inside if one is not module and next(one.children(), None) is None]


def _with(place: Place, value: Any, x: Tensor) -> Any:
    """What a module returned or was given, with x in the place of its tensor; nothing of it is changed."""
    if place.part is not None:
        whole = Place(place.module, place.index).take(value).clone()
        whole[..., place.part] = x
        x = whole
    if place.index is None:
        return x
    if isinstance(value, tuple):
        items = [x if number == place.index else item for number, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    changed = copy.copy(value)
    if isinstance(value, list | Mapping):
        changed[place.index] = x
    else:
        setattr(changed, str(place.index), x)
    return changed


@contextmanager
def _exchanged(swaps: Sequence[_Swap]) -> Iterator[None]:
    """Inside, attention functions are given what `swaps` make of queries, keys and values [batch, heads, tokens, channels]."""
    by_module: dict[int, list[_Swap]] = {}
    for swap in swaps:
        by_module.setdefault(id(swap.place.module), []).append(swap)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def exchange(module: Any, query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> Any:
            given = {"query": query, "key": key, "value": value}
            for swap in by_module.get(id(module), ()):
                name = swap.place.inside or ""
                if swap.is_here():
                    given[name] = _heads(swap, given[name])
            return function(module, *(given[name] for name in GIVEN), *more, **named)

        return exchange

    with wrapped_attention(wrap):
        yield


def _heads(swap: _Swap, x_BHTC: Tensor) -> Tensor:
    """All heads of a token are one row of the site."""
    made = swap.new(x_BHTC.transpose(1, 2).flatten(2))
    return _laid_out_as(x_BHTC, made.reshape(*made.shape[:2], x_BHTC.shape[1], -1).transpose(1, 2))
