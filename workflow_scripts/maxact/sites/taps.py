"""How the tensor of a site is reached during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maxact.sites.find import Place, Site

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Routing:
    """Whose rows a tensor inside routed experts has, in order of (token, expert).

    Attributes:
        token_R: which row of the pass each row is of, int64 [rows].
        expert_R: the expert that it went through, int64 [rows].
    """

    token_R: Tensor
    expert_R: Tensor


See = Callable[[Site, "Tensor", Routing | None], None]
"""Given a site, its tensor [..., channels] with a row for each token, or with `Routing` for each token and expert."""


@contextmanager
def tapped(sites: Sequence[Site], see: See) -> Iterator[None]:
    """Inside, `see` is called with every tensor of every site, before the forward pass goes on."""
    handles = [_hook(site, site.place, see) for site in sites if site.place is not None]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(site: Site, place: Place, see: See) -> Any:
    def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        see(site, arguments[0] if arguments else keywords["hidden_states"], None)

    def after(_: Any, __: Any, output: Any) -> None:
        see(site, place.take(output), None)

    if place.before:
        return place.module.register_forward_pre_hook(before, with_kwargs=True)
    return place.module.register_forward_hook(after)
