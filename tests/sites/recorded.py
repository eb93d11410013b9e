"""Tensors of one pass, by taps and by replacing the `forward` of modules and the attention function of their file."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from maxact.sites.components import COMPONENTS
from maxact.sites.find import Site, find_sites
from maxact.sites.taps import Routing, tapped

Places = dict[tuple[str, int | None], list[Tensor]]
IDS = torch.tensor([[5, 17, 3, 80, 9, 9, 41]])


@contextmanager
def leaves_nothing_behind(model: Any) -> Iterator[None]:
    """What is done inside must leave no bit of a pass, no hook, no attribute and no attention function changed."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attributes = {module: set(vars(module)) for module in model.modules()}
    before = run(model.get_decoder())
    yield
    assert torch.equal(before, run(model.get_decoder()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert {module: set(vars(module)) for module in model.modules()} == attributes
    assert "get_interface" not in vars(ALL_ATTENTION_FUNCTIONS)


def run(decoder: Any) -> Tensor:
    """One pass without a cache; the last hidden state."""
    with torch.inference_mode():
        last: Tensor = decoder(input_ids=IDS, use_cache=False).last_hidden_state
    return last


def seen_by_taps(decoder: Any) -> tuple[Places, dict[tuple[str, int | None], Routing], Tensor]:
    """What taps give at every site that is applicable, copied at once; how rows were routed; the last hidden state."""
    seen: Places = defaultdict(list)
    routings: dict[tuple[str, int | None], Routing] = {}

    def see(site: Site, x: Tensor, routing: Routing | None) -> None:
        seen[site.component, site.layer].append(x.clone().reshape(-1, x.shape[-1]))
        if routing is not None:
            routings[site.component, site.layer] = routing

    with tapped(find_sites(decoder, list(COMPONENTS)), see):
        last = run(decoder)
    return seen, routings, last


class Recorder:
    """Replaces functions by ones that keep what goes in or comes out."""

    def __init__(self) -> None:
        self.seen: Places = defaultdict(list)

    def keep(self, place: tuple[str, int | None], x: Tensor) -> None:
        self.seen[place].append(x.clone().reshape(-1, x.shape[-1]))

    def given(self, module: Any, component: str, layer: int | None) -> None:
        """The first input of the module."""
        inner = module.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            self.keep((component, layer), arguments[0] if arguments else keywords["hidden_states"])
            return inner(*arguments, **keywords)

        module.forward = forward

    def returned(self, module: Any, component: str, layer: int | None) -> None:
        """The output of the module, or the first of its outputs."""
        inner = module.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            output = inner(*arguments, **keywords)
            self.keep((component, layer), output[0] if isinstance(output, tuple) else output)
            return output

        module.forward = forward

    def attention(self, module: Any, layer: int, monkeypatch: Any) -> None:
        """What the eager attention function in the module's file is given for this module."""
        file = sys.modules[type(module).__module__]
        inner = vars(file)["eager_attention_forward"]

        def eager_attention_forward(
            caller: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any
        ) -> Any:
            if caller is module:
                for component, x in (("query", query), ("key", key), ("value", value)):
                    heads, channels = x.shape[1], x.shape[3]
                    rows = [torch.cat([x[0, head, token] for head in range(heads)]) for token in range(x.shape[2])]
                    assert rows[0].shape == (heads * channels,)
                    self.keep((component, layer), torch.stack(rows))
            return inner(caller, query, key, value, *rest, **more)

        monkeypatch.setattr(file, "eager_attention_forward", eager_attention_forward)
