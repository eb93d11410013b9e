"""Taps give, bit for bit, what replaced functions see, and change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measure.models import MODELS, tiny
from sites.recorded import IDS, Recorder, leaves_nothing_behind, run, seen_by_taps

from maxact.sites.components import COMPONENTS
from maxact.sites.find import Place, Site, find_sites
from maxact.sites.taps import tapped

ROUTED = ("expert_gate", "expert_down_input")
"""Compared in test_experts.py."""


def replaced(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Every function around a site replaced by one that records."""
    recorder = Recorder()
    recorder.returned(decoder.embed_tokens, "embedding", None)
    recorder.returned(decoder.norm, "final_norm", None)
    for layer, block in enumerate(decoder.layers):
        recorder.returned(block, "residual", layer)
        if hasattr(block, "linear_attn"):
            attention, first, last = block.linear_attn, block.linear_attn.in_proj_qkv, block.linear_attn.out_proj
        else:
            attention, first, last = block.self_attn, block.self_attn.q_proj, block.self_attn.o_proj
            recorder.attention(attention, layer, monkeypatch)
        recorder.given(first, "attention_input", layer)
        recorder.given(last, "attention_context", layer)
        recorder.returned(attention, "attention_output", layer)
        if hasattr(block, "post_feedforward_layernorm"):
            recorder.returned(block.post_attention_layernorm, "attention_update", layer)
            recorder.returned(block.post_feedforward_layernorm, "mlp_update", layer)
        recorder.given(block.mlp, "mlp_input", layer)
        recorder.returned(block.mlp, "mlp_output", layer)
        dense = block.mlp
        if hasattr(block.mlp, "experts"):
            router = block.mlp.router if hasattr(block.mlp, "router") else block.mlp.gate
            recorder.returned(router, "router_logits", layer)
            dense = getattr(block.mlp, "shared_expert", None)
        if dense is not None:
            recorder.returned(dense.gate_proj, "gate", layer)
            recorder.given(dense.down_proj, "down_input", layer)
    return recorder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", MODELS)
def test_every_site_equals_what_replaced_functions_see(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, _, last = seen_by_taps(tiny(name, dtype, "eager").get_decoder())
    other = tiny(name, dtype, "eager").get_decoder()
    expected = replaced(other, monkeypatch)
    assert torch.equal(run(other), last)
    assert {place for place in seen if place[0] not in ROUTED} == set(expected.seen)
    for place, tensors in expected.seen.items():
        (x,), (found,) = tensors, seen[place]
        assert torch.equal(x, found), place


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_taps_change_no_bit_and_leave_nothing_behind(name: str, attention: str) -> None:
    model = tiny(name, attention=attention)
    before = run(model.get_decoder())
    with leaves_nothing_behind(model):
        _, _, during = seen_by_taps(model.get_decoder())
    assert torch.equal(before, during)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3:text"])
def test_a_block_adds_what_its_attention_and_mlp_give(name: str) -> None:
    """The updates where a norm follows, else the outputs."""
    seen, _, _ = seen_by_taps(tiny(name).get_decoder())
    (x,) = seen["embedding", None]
    for layer in range(3):
        for part in ("attention", "mlp"):
            (added,) = seen.get((f"{part}_update", layer), seen[f"{part}_output", layer])
            x = x + added
        assert torch.equal(x, seen["residual", layer][0])


def test_values_are_the_value_projection_and_keys_are_rotated() -> None:
    decoder = tiny("llama").get_decoder()
    recorder = Recorder()
    for layer, block in enumerate(decoder.layers):
        recorder.returned(block.self_attn.v_proj, "value", layer)
        recorder.returned(block.self_attn.k_proj, "key", layer)
    seen, _, _ = seen_by_taps(decoder)
    for layer in range(3):
        assert torch.equal(seen["value", layer][0], recorder.seen["value", layer][0])
        before, after = recorder.seen["key", layer][0], seen["key", layer][0]
        assert torch.equal(before[0], after[0])  # position 0 is turned by no angle
        assert not torch.equal(before[1:], after[1:])


def test_attention_of_a_vision_tower_is_not_mixed_in() -> None:
    """The tower shares the attention functions; modules are told apart by identity."""
    model = tiny("gemma3")
    sites = find_sites(model.get_decoder(), ["query", "key", "value"])
    seen: list[Site] = []
    with tapped(sites, lambda site, x, routing: seen.append(site)), torch.inference_mode():
        model.model.vision_tower(pixel_values=torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16))
        assert seen == []
        run(model.get_decoder())
    assert seen == sites


def test_a_site_at_one_call_of_a_module_fires_once_a_pass() -> None:
    """Shared layers run several times in a pass; counting begins anew with each pass, also after one that failed."""
    decoder, block = torch.nn.Module(), torch.nn.Linear(2, 2)
    fail = [False]

    def forward(x: torch.Tensor) -> torch.Tensor:
        x = block(x)
        if fail[0]:
            raise KeyError
        return block(block(x))  # type: ignore[no-any-return]

    decoder.forward = forward
    sites = [Site(call, "residual", call, Place(block, call=call, decoder=decoder)) for call in (0, 2)]
    seen: list[tuple[int, torch.Tensor]] = []
    x = torch.ones(1, 2)
    with tapped(sites, lambda site, x, _: seen.append((site.number, x.clone()))), torch.no_grad():
        decoder(x)
        fail[0] = True
        with pytest.raises(KeyError):
            decoder(x)
        fail[0] = False
        decoder(x)
        assert [number for number, _ in seen] == [0, 2, 0, 0, 2]
        assert torch.equal(seen[-1][1], block(block(block(x))))


def test_a_part_of_the_channels_is_a_site() -> None:
    module = torch.nn.Identity()
    seen = []
    with tapped([Site(0, "gate", 0, Place(module, part=slice(0, 2)))], lambda site, x, _: seen.append(x.tolist())):
        module(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert seen == [[[1.0, 2.0]]]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_applicable_says_why(name: str) -> None:
    for site in find_sites(tiny(name).get_decoder(), list(COMPONENTS)):
        assert (site.reason is None) == (site.place is not None)
        assert site.reason != "not in this architecture", site.component


def test_the_last_token_is_seen_at_each_site() -> None:
    seen, _, _ = seen_by_taps(tiny("qwen2").get_decoder())
    assert {len(x) for tensors in seen.values() for x in tensors} == {IDS.shape[1]}
