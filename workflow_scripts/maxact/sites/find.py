"""Every site of a model, in forward order, from its family's adapter.

An adapter has `block(layer)`: for one decoder block, the components that it has and where each is, or why not. What it
leaves out is not applicable there, and is listed as such: nothing is silently absent. An adapter that must look at the
whole decoder has `layout(decoder)` instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from maxact.sites.components import COMPONENTS
from maxact.sites.registry import adapter_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Inside = Literal["query", "key", "value", "chosen", "expert_gate", "expert_down_input"]


@dataclass(frozen=True)
class Place:
    """Where a tensor can be taken: what a module returns, or with `before` what it is given.

    Attributes:
        module: the module to hook.
        index: which element of a tuple, or field of an object or dictionary, where the module returns one.
        before: take the module's first input instead of its output.
        keyword: the name of that input, where it is given by name.
        part: which channels, where one matrix holds several projections.
        inside: take what the module hands to the attention function, or works with inside its routed experts.
        call: which call of the module, where it is called several times in a pass.
        decoder: begins a pass, where `call` is given.
        experts: how many experts there are, where the tensor is the choice of them.
    """

    module: nn.Module
    index: int | str | None = None
    before: bool = False
    keyword: str = "hidden_states"
    part: slice | None = None
    inside: Inside | None = None
    call: int | None = None
    decoder: nn.Module | None = None
    experts: int = 0

    def take(self, value: Any) -> Tensor:
        """The tensor out of what the module returned or was given."""
        tensor: Tensor
        if self.index is None:
            tensor = value
        elif isinstance(self.index, int) or isinstance(value, Mapping):
            tensor = value[self.index]
        else:
            tensor = getattr(value, self.index)
        return tensor if self.part is None else tensor[..., self.part]


@dataclass(frozen=True)
class Site:
    """A component at a layer.

    Attributes:
        number: counts in forward order.
        place: where it is; None where it is not applicable.
        reason: why not, where it is not.
        chosen: where the choice of experts in its layer is; None where there is none.
    """

    number: int
    component: str
    layer: int | None
    place: Place | None
    reason: str | None = None
    chosen: Place | None = None


Found = Place | str
"""Where a component of a block is, or why it is not applicable."""

Block = Callable[["nn.Module"], dict[str, Found]]

CHOSEN = "chosen"
"""The key, beside components, under which an adapter says where the choice of experts is."""

ABSENT = "not in this architecture"
"""Why a component that an adapter leaves out is not applicable."""


@dataclass(frozen=True)
class Layout:
    """Where everything is in a decoder.

    Attributes:
        blocks: what each block has, in the order in which they run.
    """

    embedding: Found
    blocks: list[dict[str, Found]]
    final_norm: Found


def decoder_of(model: Any) -> Any:
    """The part of a model that is measured: without its head, and of a wrapper the language model.

    Usually `model.get_decoder()`; some heads are named `decoder`, and are not meant.
    """
    decoder = model.get_decoder()
    return decoder if hasattr(decoder, "config") else model.base_model


def find_sites(decoder: Any, components: Collection[str]) -> list[Site]:
    """The sites of `components` in `decoder` (`decoder_of(model)`), in forward order.

    Raises:
        UserError: no adapter can tell where they are.
    """
    adapter = importlib.import_module(adapter_of(decoder.config.model_type))
    layout = adapter.layout(decoder) if hasattr(adapter, "layout") else _of_blocks(decoder, adapter.block)
    found: list[tuple[str, int | None, Found, Place | None]] = [("embedding", None, layout.embedding, None)]
    for layer, places in enumerate(layout.blocks):
        chosen = places.get(CHOSEN)
        for name, entry in COMPONENTS.items():
            if entry.per_layer:
                found.append((name, layer, places.get(name, ABSENT), chosen if isinstance(chosen, Place) else None))
    found.append(("final_norm", None, layout.final_norm, None))
    wanted = [site for site in found if site[0] in components]
    return [_site(number, *site) for number, site in enumerate(wanted)]


def _of_blocks(decoder: Any, block: Block) -> Layout:
    return Layout(
        Place(decoder.layers[0], before=True), [block(layer) for layer in decoder.layers], Place(decoder.norm)
    )


def _site(number: int, component: str, layer: int | None, found: Found, chosen: Place | None) -> Site:
    if isinstance(found, str):
        return Site(number, component, layer, None, found, chosen)
    return Site(number, component, layer, found, None, chosen)
