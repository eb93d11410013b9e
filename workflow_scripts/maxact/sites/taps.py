"""How the tensor of a site is reached during a forward pass.

Outputs and inputs of modules: by hooks. Queries, keys and values: `attention.py`. The inside of routed experts:
`experts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from maxact.sites.attention import GIVEN, spied_attention
from maxact.sites.components import INSIDE_EXPERTS
from maxact.sites.experts import ExpertTap, Routing, chosen_TK
from maxact.sites.find import Place, Site

__all__ = ["Routed", "Routing", "See", "tapped"]

See = Callable[[Site, Tensor, Routing | None], None]
"""Given a site, its tensor [..., channels] with a row for each token, or with `Routing` for each token and expert."""

Routed = Callable[[int, Tensor, int], None]
"""Given a layer, the experts that each token goes through, int64 [tokens, chosen], and how many experts there are."""


@dataclass
class Tap:
    """One site in a pass; counts the calls of its module where only one of them is the site."""

    place: Place
    give: Callable[[Tensor, Routing | None], None]
    calls: int = 0

    def __call__(self, x: Tensor, routing: Routing | None = None) -> None:
        """The module is called with this tensor."""
        self.calls += 1
        if self.place.call is None or self.place.call == self.calls - 1:
            self.give(x, routing)


@contextmanager
def tapped(sites: Sequence[Site], see: See, routed: Routed | None = None) -> Iterator[None]:
    """Inside, `see` is called with every tensor of every site, before the forward pass goes on.

    Args:
        routed: called once in a pass for each layer with routed experts that has a site among `sites`.
    """
    taps = [Tap(site.place, _giving(site, see)) for site in sites if site.place is not None]
    choices = {site.layer: site.chosen for site in sites if site.layer is not None and site.chosen is not None}
    if routed is not None:
        taps += [Tap(place, _routing(layer, place.experts, routed)) for layer, place in choices.items()]
    with ExitStack() as stack:
        for tap in taps:
            for handle in _hooks(tap):
                stack.callback(handle.remove)
        spied = [tap for tap in taps if tap.place.inside in GIVEN]
        if spied:
            stack.enter_context(spied_attention(_attending(spied)))
        inside = [tap for tap in taps if tap.place.inside in INSIDE_EXPERTS]
        for module in {tap.place.module: None for tap in inside}:
            named = {
                name: [tap for tap in inside if tap.place.module is module and tap.place.inside == name]
                for name in INSIDE_EXPERTS
            }
            stack.enter_context(ExpertTap(module, {name: here for name, here in named.items() if here}))
        yield


def _attending(taps: Sequence[Tap]) -> Callable[[Any, dict[str, Tensor]], None]:
    by_module: dict[int, list[Tap]] = {}
    for tap in taps:
        by_module.setdefault(id(tap.place.module), []).append(tap)

    def attending(module: Any, given: dict[str, Tensor]) -> None:
        for tap in by_module.get(id(module), ()):
            tap(given[tap.place.inside or ""].transpose(1, 2).flatten(2))

    return attending


def _giving(site: Site, see: See) -> Callable[[Tensor, Routing | None], None]:
    return lambda x, routing: see(site, x, routing)


def _routing(layer: int, experts: int, routed: Routed) -> Callable[[Tensor, Routing | None], None]:
    return lambda index_TK, _: routed(layer, index_TK.reshape(-1, index_TK.shape[-1]).long(), experts)


def _hooks(tap: Tap) -> Iterator[Any]:
    place = tap.place

    def start(*_: Any) -> None:
        tap.calls = 0

    def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        tap(place.take(arguments[0] if arguments else keywords[place.keyword]))

    def after(_: Any, __: Any, output: Any) -> None:
        tap(place.take(output))

    def choose(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        tap(chosen_TK(module, arguments, keywords))

    if place.decoder is not None:
        yield place.decoder.register_forward_pre_hook(start)
    if place.inside == "chosen":
        yield place.module.register_forward_pre_hook(choose, with_kwargs=True)
    elif place.inside is None and place.before:
        yield place.module.register_forward_pre_hook(before, with_kwargs=True)
    elif place.inside is None:
        yield place.module.register_forward_hook(after)
