"""Every site of a model, in forward order, from its family's adapter.

An adapter has `block(layer)`: for one decoder block, the components that it has and where each is, or why not. What it
leaves out is not applicable there, and is listed as such: nothing is silently absent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maxact.errors import UserError
from maxact.sites.components import COMPONENTS
from maxact.sites.registry import ADAPTERS, adapter_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Place:
    """Where a tensor can be taken: what a module returns, or with `before` what it is given.

    Attributes:
        module: the module to hook.
        index: which element, where the module returns a tuple.
        before: take the module's first positional input instead of its output.
    """

    module: nn.Module
    index: int | None = None
    before: bool = False

    def take(self, value: Any) -> Tensor:
        """The tensor out of what the hook was given."""
        tensor: Tensor = value if self.index is None else value[self.index]
        return tensor


@dataclass(frozen=True)
class Site:
    """A component at a layer.

    Attributes:
        number: counts in forward order.
        place: where it is; None where it is not applicable.
        reason: why not, where it is not.
    """

    number: int
    component: str
    layer: int | None
    place: Place | None
    reason: str | None = None


Found = Place | str
"""Where a component of a block is, or why it is not applicable."""

Block = Callable[["nn.Module"], dict[str, Found]]

ABSENT = "not in this architecture"
"""Why a component that an adapter leaves out is not applicable."""


def find_sites(decoder: Any, components: Collection[str]) -> list[Site]:
    """The sites of `components` in `decoder` (embedding, list of blocks, last norm), in forward order.

    Raises:
        UserError: no adapter knows the architecture.
    """
    model_type = decoder.config.model_type
    adapter = adapter_of(model_type)
    if adapter is None:
        raise UserError(f"model_type {model_type!r}: no adapter knows where to look; known: {', '.join(ADAPTERS)}")
    block: Block = importlib.import_module(adapter).block
    found: list[tuple[str, int | None, Found]] = [("embedding", None, Place(decoder.layers[0], before=True))]
    for layer, module in enumerate(decoder.layers):
        places = block(module)
        found += [(name, layer, places.get(name, ABSENT)) for name, entry in COMPONENTS.items() if entry.per_layer]
    found.append(("final_norm", None, Place(decoder.norm)))
    wanted = [site for site in found if site[0] in components]
    return [_site(number, *site) for number, site in enumerate(wanted)]


def _site(number: int, component: str, layer: int | None, found: Found) -> Site:
    if isinstance(found, str):
        return Site(number, component, layer, None, found)
    return Site(number, component, layer, found)
