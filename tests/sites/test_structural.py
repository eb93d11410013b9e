"""Architectures without an adapter of their own: where things are, by a trial pass, and that it is so.

What is expected is written down from the source of each architecture; what each site gives is compared with other means in
`checked.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sites.architectures import NAMES, build
from sites.checked import check, sums

from maxact.errors import UserError
from maxact.sites.components import COMPONENTS
from maxact.sites.find import Place, decoder_of, find_sites
from maxact.sites.registry import ADAPTERS, STRUCTURAL, adapter_of

LLAMA_LIKE = {
    "embedding": "layers.0 given",
    "attention_input": "self_attn.q_proj given",
    "query": "self_attn query",
    "key": "self_attn key",
    "value": "self_attn value",
    "attention_context": "self_attn.o_proj given",
    "attention_output": "self_attn 0",
    "mlp_input": "mlp given",
    "gate": "mlp.gate_proj",
    "down_input": "mlp.down_proj given",
    "mlp_output": "mlp",
    "residual": "",
    "final_norm": "norm",
}
EXPERTS = {
    "router_logits": "mlp.gate 0",
    "expert_gate": "mlp.experts expert_gate",
    "expert_down_input": "mlp.experts expert_down_input",
}
EXPECTED: dict[str, dict[str, str | None]] = {
    "mistral": LLAMA_LIKE,
    "granite": LLAMA_LIKE,
    "smollm3": LLAMA_LIKE,
    "phi3": {**LLAMA_LIKE, "attention_input": "self_attn.qkv_proj given", "gate": "mlp.gate_up_proj first half"},
    "olmo2": {
        **LLAMA_LIKE,
        "attention_update": "post_attention_layernorm",
        "mlp_update": "post_feedforward_layernorm",
    },
    "glm4": {
        **LLAMA_LIKE,
        "attention_update": "post_self_attn_layernorm",
        "mlp_update": "post_mlp_layernorm",
        "gate": "mlp.gate_up_proj first half",
    },
    "mixtral": {**LLAMA_LIKE, **EXPERTS, "gate": None, "down_input": None},
    "deepseek_v3": {
        **LLAMA_LIKE,
        **EXPERTS,
        "attention_input": "self_attn.q_a_proj given",
        "gate": "mlp.shared_experts.gate_proj",
        "down_input": "mlp.shared_experts.down_proj given",
    },
    "phi": {
        **LLAMA_LIKE,
        "attention_context": "self_attn.dense given",
        "gate": None,
        "down_input": "mlp.fc2 given",
        "final_norm": "final_layernorm",
    },
    "gpt_neox": {
        **LLAMA_LIKE,
        "attention_input": "attention.query_key_value given",
        "query": "attention query",
        "key": "attention key",
        "value": "attention value",
        "attention_context": "attention.dense given",
        "attention_output": "attention 0",
        "gate": None,
        "down_input": "mlp.dense_4h_to_h given",
        "final_norm": "final_layer_norm",
    },
    "gpt2": {
        **LLAMA_LIKE,
        "embedding": "h.0 given",
        "attention_input": "attn.c_attn given",
        "query": "attn query",
        "key": "attn key",
        "value": "attn value",
        "attention_context": "attn.c_proj given",
        "attention_output": "attn 0",
        "gate": None,
        "down_input": "mlp.c_proj given",
        "final_norm": "ln_f",
    },
    "falcon": {
        **LLAMA_LIKE,
        "embedding": "h.0 given",
        "attention_input": "self_attention.query_key_value given",
        "query": None,
        "key": None,
        "value": None,
        "attention_context": "self_attention.dense given",
        "attention_output": "self_attention 0",
        "gate": None,
        "down_input": "mlp.dense_4h_to_h given",
        "residual": "0",
        "final_norm": "ln_f",
    },
    "opt": {
        **LLAMA_LIKE,
        "attention_context": "self_attn.out_proj given",
        "mlp_input": "fc1 given",
        "gate": None,
        "down_input": "fc2 given",
        "mlp_output": "fc2",
        "final_norm": "final_layer_norm",
    },
    "bert": {
        **LLAMA_LIKE,
        "embedding": "encoder.layer.0 given",
        "attention_input": "attention.self.query given",
        "query": "attention.self query",
        "key": "attention.self key",
        "value": "attention.self value",
        "attention_context": "attention.output.dense given",
        "attention_output": "attention.output.dense",
        "mlp_input": "intermediate.dense given",
        "gate": None,
        "down_input": "output.dense given",
        "mlp_output": "output.dense",
        "final_norm": None,
    },
    "mamba": {
        **dict.fromkeys(LLAMA_LIKE),
        "embedding": "layers.0 given",
        "attention_input": "mixer.in_proj given",
        "attention_context": "mixer.out_proj given",
        "attention_output": "mixer",
        "residual": "",
        "final_norm": "norm_f",
    },
}
SUMS = dict.fromkeys(EXPECTED, "sequential") | {"phi": "parallel", "gpt_neox": "parallel", "falcon": "parallel"}
SUMS |= {"bert": "neither"}  # a norm follows each sum


def described(place: Place | None, names: dict[int, str], block: str) -> str | None:
    if place is None:
        return None
    name = names[id(place.module)]
    name = name.removeprefix(block).lstrip(".") if name.startswith(block) else name
    half = "first half" if place.part is not None and place.part.start == 0 else ""
    words = [name, "given" if place.before else "", place.inside or "", half]
    return " ".join([*filter(None, words), *([] if place.index is None else [str(place.index)])])


@pytest.mark.parametrize("name", EXPECTED)
def test_sites_are_where_the_source_of_the_architecture_has_them(name: str) -> None:
    decoder = decoder_of(build(name))
    names = {id(module): path for path, module in decoder.named_modules()}
    sites = find_sites(decoder, list(COMPONENTS))
    last = max(site.layer for site in sites if site.layer is not None)
    assert last == 3
    block = names[id(next(s.place.module for s in sites if s.component == "residual" and s.layer == last and s.place))]
    for site in sites:
        if site.layer in (None, last):
            expected = EXPECTED[name].get(site.component)
            assert described(site.place, names, block) == expected, (site.component, site.reason)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_site_equals_what_other_means_see(name: str) -> None:
    model = build(name)
    sites = check(model)
    assert sums(decoder_of(model), sites) == SUMS[name]


def test_shared_blocks_are_sites_as_often_as_they_run() -> None:
    sites = check(build("hrm_text"))
    places = [site.place for site in sites if site.component == "residual" and site.place is not None]
    assert len(places) == 32 > len({place.module for place in places})


def test_a_module_that_also_norms_the_embedding_is_the_final_norm_at_its_last_call() -> None:
    decoder = decoder_of(build("nanochat"))
    (site,) = find_sites(decoder, ["final_norm"])
    assert site.place is not None
    assert (site.place.module, site.place.call) == (decoder.norm, 1)


def test_a_trial_leaves_a_model_as_it_was() -> None:
    model = build("mistral")
    decoder = decoder_of(model).train()
    before = {name: parameter.clone() for name, parameter in decoder.named_parameters()}
    find_sites(decoder, list(COMPONENTS))
    assert decoder.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(before[name], parameter) for name, parameter in decoder.named_parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xlm", r"model_type 'xlm': no list of blocks that each add to a residual stream of 64 channels was found"),
        ("deepseek_v4", r"model_type 'deepseek_v4': no list of blocks"),
    ],
)
def test_an_architecture_whose_blocks_cannot_be_told_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_sites(decoder_of(build(name)), ["residual"])


def test_a_decoder_that_cannot_run_on_tokens_alone_is_refused() -> None:
    decoder = decoder_of(build("mistral"))

    def forward(**_: Any) -> None:
        raise ValueError("pixels are missing\nmore")

    decoder.forward = forward
    with pytest.raises(UserError, match=r"a trial pass of input_ids alone fails \(pixels are missing\)"):
        find_sites(decoder, ["residual"])


def test_the_papers_families_are_found_alike_without_their_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    from measure.models import MODELS, tiny

    for name in MODELS:
        decoder = tiny(name).get_decoder()
        own = find_sites(decoder, list(COMPONENTS))
        with monkeypatch.context() as patched:
            patched.setattr("maxact.sites.find.adapter_of", lambda _: STRUCTURAL)
            found = find_sites(decoder, list(COMPONENTS))
        assert [(s.component, s.layer, s.place is None) for s in own] == [
            (s.component, s.layer, s.place is None) for s in found
        ]
        for one, other in zip(own, found, strict=True):
            if one.place is not None and other.place is not None and one.component != "attention_input":
                assert (one.place.module, one.place.index) == (other.place.module, other.place.index), one.component


def test_a_shared_expert_that_runs_before_the_router_is_not_taken_for_it() -> None:
    """In Qwen2-MoE its gate projection is the first product of hidden states and a matrix."""
    decoder = decoder_of(build("qwen2_moe"))
    for site in find_sites(decoder, ["router_logits"]):
        assert site.place is not None
        assert site.place.module is decoder.layers[site.layer].mlp.gate


def test_other_architectures_have_the_structural_adapter() -> None:
    assert {adapter_of(name) for name in NAMES} == {*(m for n, m in ADAPTERS.items() if n != "bailing_moe"), STRUCTURAL}
