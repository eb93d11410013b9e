"""The inside of routed experts: which token and expert each row is of, in every way in which transformers computes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measure.models import tiny
from sites.recorded import IDS, run, seen_by_taps
from torch import Tensor
from torch.nn.functional import silu

from maxact.sites.components import COMPONENTS
from maxact.sites.find import find_sites
from maxact.sites.taps import tapped

NAMES = ["qwen3_moe", "qwen3_5_moe", "gpt_oss"]
IMPLEMENTATIONS = ["grouped_mm", "batched_mm", "eager"]


def expert(experts: Any, number: int, x_C: Tensor) -> tuple[Tensor, Tensor]:
    """Gate and input of the down projection of one token in one expert, written out."""
    if hasattr(experts, "gate_up_proj_bias"):  # gpt-oss
        both = x_C @ experts.gate_up_proj[number] + experts.gate_up_proj_bias[number]
        gate, up = both[0::2], both[1::2]
        clamped = gate.clamp(max=experts.limit)
        down = (up.clamp(-experts.limit, experts.limit) + 1) * clamped * torch.sigmoid(experts.alpha * clamped)
        return gate, down
    width = experts.down_proj.shape[2]
    gate, up = experts.gate_up_proj[number][:width] @ x_C, experts.gate_up_proj[number][width:] @ x_C
    return gate, silu(gate) * up


def choices(decoder: Any, components: list[str]) -> dict[int, tuple[Tensor, int]]:
    """By layer, what a pass says of the experts chosen, and how many there are."""
    chosen: dict[int, tuple[Tensor, int]] = {}

    def routed(layer: int, index_TK: Tensor, experts: int) -> None:
        assert layer not in chosen
        chosen[layer] = index_TK, experts

    with tapped(find_sites(decoder, components), lambda *_: None, routed):
        run(decoder)
    return chosen


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_each_row_is_of_the_token_and_expert_that_it_is_said_to_be_of(name: str, implementation: str) -> None:
    model = tiny(name, torch.float32)
    model.set_experts_implementation(implementation)
    decoder = model.get_decoder()
    chosen = choices(decoder, ["residual"])
    seen, routings, _ = seen_by_taps(decoder)
    for layer, block in enumerate(decoder.layers):
        index_TK, experts = chosen[layer]
        assert (index_TK.shape, index_TK.dtype, experts) == ((IDS.shape[1], 2), torch.int64, 6)
        x_TC = seen["mlp_input", layer][0]
        pairs = [(token, number) for token in range(len(x_TC)) for number in sorted(index_TK[token].tolist())]
        for component, part in (("expert_gate", 0), ("expert_down_input", 1)):
            routing, (rows,) = routings[component, layer], seen[component, layer]
            assert list(zip(routing.token_R.tolist(), routing.expert_R.tolist(), strict=True)) == pairs
            with torch.no_grad():
                expected = torch.stack([expert(block.mlp.experts, n, x_TC[token])[part] for token, n in pairs])
            torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_taps_inside_experts_change_no_bit(name: str, implementation: str) -> None:
    model = tiny(name)
    model.set_experts_implementation(implementation)
    before = run(model.get_decoder())
    _, _, during = seen_by_taps(model.get_decoder())
    assert torch.equal(before, during)


@pytest.mark.parametrize("component", ["expert_gate", "expert_down_input"])
def test_one_side_of_experts_is_measured_alone(component: str) -> None:
    decoder = tiny("qwen3_moe").get_decoder()
    sites, seen = find_sites(decoder, [component]), []
    with tapped(sites, lambda site, x, routing: seen.append((site.component, tuple(x.shape)))):
        run(decoder)
    assert seen == [(component, (14, 24))] * 3


def test_a_choice_of_experts_is_reported_once_a_layer_whatever_is_measured() -> None:
    decoder = tiny("qwen3_moe:dense_layer").get_decoder()
    for components in (["residual"], list(COMPONENTS)):
        assert sorted(choices(decoder, components)) == [0, 2]


def test_experts_computed_in_an_unknown_way_are_not_applicable() -> None:
    model = tiny("qwen3_moe")
    decoder = model.get_decoder()
    decoder.config._experts_implementation = "sonicmoe"
    (site, *_) = find_sites(decoder, ["expert_gate"])
    assert (site.place, site.reason) == (None, "experts computed with 'sonicmoe' hide their inside")
