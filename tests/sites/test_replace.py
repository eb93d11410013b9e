"""A replaced tensor is what comes next, as if functions had been written so by hand; the identity changes no bit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from measure.models import MODELS, tiny
from sites.recorded import leaves_nothing_behind, run
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MistralConfig, OPTConfig

from maxact.sites.components import COMPONENTS, INSIDE_EXPERTS
from maxact.sites.find import Place, Site, find_sites
from maxact.sites.replace import INSIDE_FUSED, not_replaceable, replaced

LINEAR = ("attention_input", "attention_context", "mlp_input", "down_input")


def coarse(x: Tensor) -> Tensor:
    """Rounded to three significant bits or so: far from the identity, and once more of it is the same."""
    return ((x.float() * 4).round() / 4).to(x.dtype)


def wrap(module: Any, given: bool, change: Callable[[Tensor], Tensor] = coarse) -> None:
    """The first input, or the first output, of a module's forward."""
    inner = module.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        if given and arguments:
            arguments = (change(arguments[0]), *arguments[1:])
        elif given:
            keywords = {**keywords, "hidden_states": change(keywords["hidden_states"])}
        output = inner(*arguments, **keywords)
        if given:
            return output
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    module.forward = forward


def by_hand(decoder: Any, component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One component replaced at every layer, in the modules that read or return it."""
    for block in decoder.layers:
        linear = hasattr(block, "linear_attn")
        attention = block.linear_attn if linear else block.self_attn
        dense = getattr(block.mlp, "shared_expert", None) if hasattr(block.mlp, "experts") else block.mlp
        names = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a") if linear else ("q_proj", "k_proj", "v_proj")
        if component == "attention_input":
            for name in names:
                wrap(getattr(attention, name), given=True)
        elif component == "attention_context":
            wrap(attention.out_proj if linear else attention.o_proj, given=True)
        elif component == "mlp_input" and block.mlp is dense:
            wrap(dense.gate_proj, given=True)
            wrap(dense.up_proj, given=True)
        elif component == "mlp_input":
            wrap(block.mlp, given=True)
        elif component == "down_input" and dense is not None:
            wrap(dense.down_proj, given=True)
        elif component == "gate" and dense is not None:
            wrap(dense.gate_proj, given=False)
        elif component in ("attention_output", "mlp_output", "residual"):
            wrap({"attention_output": attention, "mlp_output": block.mlp, "residual": block}[component], given=False)
        elif component in ("key", "value") and not linear:
            wrap_attention(attention, component, monkeypatch)


def wrap_attention(module: Any, component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager attention function of the module's file, for this module."""
    file = sys.modules[type(module).__module__]
    inner = vars(file)["eager_attention_forward"]

    def eager(caller: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Any:
        if caller is module and component == "key":
            key = coarse(key)
        elif caller is module:
            value = coarse(value)
        return inner(caller, query, key, value, *rest, **more)

    monkeypatch.setattr(file, "eager_attention_forward", eager)


@pytest.mark.parametrize("component", [*LINEAR, "key", "value", "gate", "attention_output", "mlp_output", "residual"])
@pytest.mark.parametrize("name", MODELS)
def test_a_replaced_component_has_the_bits_of_a_model_written_so(
    name: str, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = tiny(name, attention="eager").get_decoder()
    bare = run(decoder)
    sites = [site for site in find_sites(decoder, [component]) if not_replaceable(site) is None]
    with replaced(decoder, sites, lambda site, x: coarse(x)) as done:
        found = run(decoder)
    assert done == {site.number: 1 for site in sites}
    other = tiny(name, attention="eager").get_decoder()
    by_hand(other, component, monkeypatch)
    assert torch.equal(found, run(other))
    assert torch.equal(found, bare) == (not sites)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_the_identity_changes_no_bit_and_leaves_nothing_behind(name: str, attention: str) -> None:
    model = tiny(name, attention=attention)
    decoder = model.get_decoder()
    before = run(decoder)
    sites = [site for site in find_sites(decoder, list(COMPONENTS)) if not_replaceable(site) is None]
    with leaves_nothing_behind(model), replaced(decoder, sites, lambda site, x: x.clone()) as done:
        assert torch.equal(before, run(decoder))
        assert torch.equal(before, run(decoder))
    assert set(done.values()) == {2}
    assert len(done) == len(sites)


SIZES: dict[str, Any] = {"vocab_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
STRUCTURAL = {
    "mistral": MistralConfig(**SIZES, intermediate_size=56, num_key_value_heads=2, initializer_range=0.5),
    "opt": OPTConfig(**SIZES, ffn_dim=56, word_embed_proj_dim=32, init_std=0.5, max_position_embeddings=64),
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_projections_beside_a_bare_one_are_given_the_same(name: str) -> None:
    """The structural adapter finds the first projection that a tensor goes into; the other two read it too."""

    def model() -> Any:
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(STRUCTURAL[name], dtype=torch.bfloat16).eval()

    decoder = model().get_decoder()
    sites = find_sites(decoder, LINEAR)
    assert any(isinstance(site.place.module, nn.Linear) for site in sites if site.component == "attention_input")
    with replaced(decoder, sites, lambda site, x: coarse(x)) as done:
        found = run(decoder)
    assert done == {site.number: 1 for site in sites}
    other = model().get_decoder()
    for module in other.layers.modules():
        if isinstance(module, nn.Linear):
            wrap(module, given=True)
    assert torch.equal(found, run(other))
    assert not torch.equal(found, run(model().get_decoder()))


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_the_inside_of_routed_experts_is_refused_with_a_reason(name: str) -> None:
    decoder = tiny(name).get_decoder()
    sites = find_sites(decoder, INSIDE_EXPERTS)
    assert {not_replaceable(site) for site in sites} == {INSIDE_FUSED}
    with (
        pytest.raises(ValueError, match=r"expert_gate@0: inside routed experts"),
        replaced(decoder, sites, lambda site, x: x),
    ):
        pass


def test_what_an_architecture_has_not_is_refused_with_the_reason_of_its_adapter() -> None:
    sites = find_sites(tiny("qwen3_5").get_decoder(), ["key"])
    none = "linear attention keeps no keys and values"
    assert [not_replaceable(site) for site in sites] == [none, None, none]


def one(place: Place) -> Site:
    return Site(0, "gate", 0, place)


def test_a_part_of_the_channels_an_element_or_a_field_is_replaced_and_the_rest_stays() -> None:
    module = nn.Identity()
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    with replaced(module, [one(Place(module, part=slice(0, 2)))], lambda site, x: -x):
        assert module(x).tolist() == [[-1.0, -2.0, 3.0, 4.0]]
    for index, value in ((1, (x, x)), (1, [x, x]), ("b", {"a": x, "b": x})):
        with replaced(module, [one(Place(module, index=index))], lambda site, x: -x):
            found = module(value)
        assert type(found) is type(value)
        first = "a" if index == "b" else 0
        assert torch.equal(found[first], x)
        assert torch.equal(found[index], -x)
        assert torch.equal(value[index], x)


def test_one_of_several_calls_of_a_module_is_replaced() -> None:
    decoder, block = nn.Module(), nn.Linear(2, 2)
    decoder.block = block
    decoder.forward = lambda x: block(block(block(x)))
    x = torch.ones(1, 2)
    with replaced(decoder, [one(Place(block, call=1, decoder=decoder))], lambda site, x: 0 * x), torch.no_grad():
        for _ in range(2):
            assert torch.equal(decoder(x), block.bias[None])


def test_another_shape_or_dtype_is_an_error() -> None:
    module = nn.Identity()
    for change in (lambda site, x: x[..., :1], lambda site, x: x.double()):
        with replaced(module, [one(Place(module))], change), pytest.raises(RuntimeError, match="gate@0"):
            module(torch.ones(1, 2))
