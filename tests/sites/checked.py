"""Whether the sites of a model are what they are said to be, by means that share nothing with taps.

Modules have their `forward` replaced; attention functions are replaced in the interface's own table and in the file of the
model; rows inside experts are computed from the experts' weights; the model's own hidden states are asked for.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from maxact.sites.components import COMPONENTS
from maxact.sites.find import Place, Site, decoder_of, find_sites
from maxact.sites.taps import Routing, tapped

IDS = torch.tensor([[3, 11, 7, 20, 11, 2, 9, 40, 5]])
INSIDE_EXPERTS = ("expert_gate", "expert_down_input")


def check(model: Any) -> list[Site]:
    """The sites of a model, all compared. Raises AssertionError where one differs."""
    decoder = decoder_of(model)
    sites = find_sites(decoder, list(COMPONENTS))
    with torch.inference_mode():
        bare = _run(decoder)
        seen = _tapped(decoder, sites, bare)
        with _replaced(decoder, sites) as (calls, attended):
            _run(decoder)
    for site in sites:
        if site.place is None:
            assert site.reason
            continue
        x, routing = seen[site.number]
        if site.place.inside in INSIDE_EXPERTS:
            assert routing is not None
            with torch.inference_mode():
                _check_experts(site, x, routing, calls)
        elif site.place.inside is not None:
            given = attended[id(site.place.module)][site.place.call or 0][site.place.inside]
            assert torch.equal(x, given), f"{site.component}@{site.layer}"
        else:
            assert torch.equal(x, _expected(site.place, calls)), f"{site.component}@{site.layer}"
            assert x.numel() == IDS.numel() * x.shape[-1], f"{site.component}@{site.layer} has {tuple(x.shape)}"
    _check_hidden_states(decoder, sites, seen)
    return sites


def _run(decoder: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    return decoder(input_ids=IDS, use_cache=False, **more)


def _tapped(decoder: Any, sites: list[Site], bare: Any) -> dict[int, tuple[Tensor, Routing | None]]:
    seen: dict[int, tuple[Tensor, Routing | None]] = {}

    def see(site: Site, x: Tensor, routing: Routing | None) -> None:
        assert site.number not in seen, f"{site.component}@{site.layer} fires twice"
        seen[site.number] = x.clone(), routing

    with tapped(sites, see):
        assert torch.equal(_run(decoder)[0], bare[0])
    missing = [f"{site.component}@{site.layer}" for site in sites if site.place and site.number not in seen]
    assert not missing, missing
    return seen


Called = dict[int, list[tuple[tuple[Any, ...], dict[str, Any], Any]]]


@contextmanager
def _replaced(decoder: Any, sites: list[Site]) -> Iterator[tuple[Called, dict[int, list[dict[str, Tensor]]]]]:
    calls: Called = defaultdict(list)
    attended: dict[int, list[dict[str, Tensor]]] = defaultdict(list)
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.clone()
        return type(value)(map(copied, value)) if type(value) in (tuple, list) else value

    def wrap(module: Any) -> Any:
        inner = module.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            given = copied(arguments), {name: copied(value) for name, value in keywords.items()}
            number = len(calls[id(module)])
            calls[id(module)].append((*given, None))
            output = inner(*arguments, **keywords)
            calls[id(module)][number] = (*given, copied(output))
            return output

        return forward

    def recording(function: Any) -> Any:
        def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Any:
            given = {"query": query, "key": key, "value": value}
            kept = {name: x.permute(0, 2, 1, 3).reshape(1, x.shape[2], -1) for name, x in given.items()}
            attended[id(module)].append({name: x.clone() for name, x in kept.items()})
            return function(module, query, key, value, *rest, **more)

        return attention

    with ExitStack() as stack:
        modules = {id(site.place.module): site.place.module for site in sites if site.place is not None}
        for module in modules.values():
            if "forward" in vars(module):
                continue
            module.forward = wrap(module)
            stack.callback(delattr, module, "forward")
        for file in {type(module).__module__ for module in modules.values()}:
            space = vars(sys.modules[file])
            if "eager_attention_forward" in space:
                stack.enter_context(
                    patch.dict(space, eager_attention_forward=recording(space["eager_attention_forward"]))
                )
        ALL_ATTENTION_FUNCTIONS["sdpa"] = recording(ALL_ATTENTION_FUNCTIONS["sdpa"])
        stack.callback(ALL_ATTENTION_FUNCTIONS.__delitem__, "sdpa")
        yield calls, attended


def _expected(place: Place, calls: Called) -> Tensor:
    made = calls[id(place.module)]
    assert place.call is not None or len(made) == 1
    arguments, keywords, output = made[place.call or 0]
    value = output
    if place.before:
        value = arguments[0] if arguments else keywords[place.keyword]
    x: Tensor = value if place.index is None else value[place.index]
    return x if place.part is None else x[..., place.part]


def _check_experts(site: Site, x_RI: Tensor, routing: Routing, calls: Called) -> None:
    """Gates are the products of tokens and their experts' weights; the other side is compared through its order alone."""
    assert site.place is not None
    experts: Any = site.place.module
    arguments, keywords, _ = calls[id(experts)][site.place.call or 0]
    x_TC, index_TK = (*arguments, *keywords.values())[:2]
    chosen = [(token, number) for token, row in enumerate(index_TK.tolist()) for number in row]
    pairs = sorted(pair for pair in chosen if pair[1] < experts.num_experts)
    assert list(zip(routing.token_R.tolist(), routing.expert_R.tolist(), strict=True)) == pairs
    if site.component != "expert_gate":
        assert len(x_RI) == len(pairs)
        return
    for row, (token, number) in enumerate(pairs):
        weight = experts.gate_up_proj[number].float()
        both = x_TC[token].float() @ (weight if experts.is_transposed else weight.T)
        if experts.has_bias:
            both = both + experts.gate_up_proj_bias[number].float()
        gate = both.chunk(2)[0] if experts.is_concatenated else both[::2]
        scale = float(gate.abs().max())
        assert torch.allclose(x_RI[row].float(), gate, rtol=0.02, atol=0.02 * scale), f"{site.component}@{site.layer}"


def _check_hidden_states(decoder: Any, sites: list[Site], seen: dict[int, tuple[Tensor, Routing | None]]) -> None:
    """Those that the model itself reports between its blocks; after the last block it reports the final norm."""
    residual = [seen[site.number][0] for site in sites if site.component == "residual"]
    with torch.inference_mode():
        reported = getattr(_run(decoder, output_hidden_states=True), "hidden_states", None)
    if reported is None or len(reported) != len(residual) + 1:
        return
    first = next(seen[site.number][0] for site in sites if site.component == "embedding")
    # Some report the stream before each block and some after it, and the final norm after both.
    before = torch.equal(reported[0], first)
    between = zip(residual[:-1], reported[1:-1], strict=True) if before else zip(residual, reported, strict=False)
    for layer, (found, state) in enumerate(between):
        assert torch.equal(found.reshape(state.shape), state), f"residual@{layer}"
    for site in sites:
        if site.component == "final_norm" and site.place is not None:
            assert torch.equal(seen[site.number][0], reported[-1])


def sums(decoder: Any, sites: list[Site]) -> str:
    """How a block's output is made from its input, attention and MLP: "sequential", "parallel" or "neither", bit for bit."""
    by: dict[tuple[str, int | None], Tensor] = {}
    with torch.inference_mode(), tapped(sites, lambda site, x, _: by.update({(site.component, site.layer): x.clone()})):
        _run(decoder)
    layers = sorted(layer for component, layer in by if component == "residual" and layer is not None)
    kinds = set()
    for layer in layers:
        x = by["residual", layer - 1] if layer else by["embedding", None]
        attention, mlp = (
            by.get((f"{part}_update", layer), by.get((f"{part}_output", layer))) for part in ("attention", "mlp")
        )
        out = by["residual", layer]
        x = x.to(out.dtype)  # some keep the stream in 32 bits from the first block on
        zero = torch.zeros_like(x)
        a, m = (zero if part is None else part.reshape(x.shape) for part in (attention, mlp))
        if torch.equal((x + a) + m, out):
            kinds.add("sequential")
        elif any(torch.equal(way, out) for way in (x + (a + m), (x + m) + a)):
            kinds.add("parallel")
        else:
            kinds.add("neither")
    return kinds.pop() if len(kinds) == 1 else "neither"
