"""Every site of a model, in forward order, from its family's adapter.

An adapter has `block(layer)`: for one decoder block, the components that it has and where each is. What it leaves out
is not applicable there, and is listed as such: nothing is silently absent.
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
    """A component at a layer. `number` counts in forward order; `place` is None where it is not applicable."""

    number: int
    component: str
    layer: int | None
    place: Place | None


Block = Callable[["nn.Module"], dict[str, Place]]


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
    found: list[tuple[str, int | None, Place | None]] = [("embedding", None, Place(decoder.layers[0], before=True))]
    for layer, module in enumerate(decoder.layers):
        places = block(module)
        found += [(name, layer, places.get(name)) for name, component in COMPONENTS.items() if component.per_layer]
    found.append(("final_norm", None, Place(decoder.norm)))
    wanted = [site for site in found if site[0] in components]
    return [Site(number, *site) for number, site in enumerate(wanted)]
