"""Perplexity with quantized linear inputs is that of a model whose linear layers quantize what they are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measure.models import VOCABULARY, tiny
from oracles import perplexity as oracle
from oracles.quantize import clipping_threshold, fake_quantized
from torch import Tensor, nn

from maxact.errors import UserError
from maxact.measure.run import Sample, measure
from maxact.perplexity.plan import NOT_NORMED, Histograms, Plan, plan
from maxact.perplexity.run import run
from maxact.quantize.blocks import fake_quantize
from maxact.quantize.formats import FORMATS
from maxact.quantize.smoothing import Smoothing, smoothings_of
from maxact.quantize.tensors import KINDS, LINEAR_INPUTS
from maxact.sites.components import COMPONENTS
from maxact.sites.find import Place, Site
from maxact.sites.replace import INSIDE_FUSED


def samples(seed: int, lengths: list[int]) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, VOCABULARY, length).tolist() for length in lengths]


CALIBRATION, EVALUATION = samples(1, [20, 30]), samples(2, [2, 1, 40, 17])


def asked(
    format: str, granularity: str = "tensor", policy: str = "max", components: Any = LINEAR_INPUTS
) -> dict[str, Any]:
    return {"format": format, "granularity": granularity, "policy": policy, "components": list(components)}


def measured_tables(model: Any) -> tuple[Histograms, Any]:
    given = [Sample(number, "calibration", tuple(ids)) for number, ids in enumerate(CALIBRATION)]
    found = measure(model, given, list(COMPONENTS))
    return Histograms.of(found.sites, found.histograms), found


def measured(model: Any) -> Histograms:
    return measured_tables(model)[0]


def linears(model: Any) -> dict[str, nn.Linear]:
    """Those of the blocks; not the head."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and "layers" in name
    }


def given_to(model: Any, module: nn.Linear) -> list[Tensor]:
    """What a layer is given over the calibration samples."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].clone()))
    with torch.inference_mode():
        for ids in CALIBRATION:
            model(input_ids=torch.tensor([ids]), use_cache=False)
    handle.remove()
    return seen


def quantizing(model: Any, change: Callable[[Tensor, list[Tensor]], Tensor]) -> Any:
    """The model with each linear layer changing what it is given, which it is told together with its calibration inputs."""
    calibration = {name: given_to(model, module) for name, module in linears(model).items()}
    for name, module in linears(model).items():
        inner, known = module.forward, calibration[name]
        module.forward = lambda x, inner=inner, known=known: inner(change(x, known))
    return model


def static(policy: str, format: str) -> Callable[[Tensor, list[Tensor]], Tensor]:
    thresholds: dict[int, float | None] = {}  # by layer: its calibration inputs are one list

    def change(x: Tensor, known: list[Tensor]) -> Tensor:
        if id(known) not in thresholds:
            thresholds[id(known)] = clipping_threshold(known, policy, format)
        threshold = thresholds[id(known)]
        assert threshold
        return fake_quantized(x.float(), threshold, format, (0.0, 0.0)).to(x.dtype)

    return change


def by_token(x: Tensor, _: list[Tensor]) -> Tensor:
    """INT-8, each row by its own largest |x|."""
    rows = [
        torch.clamp(torch.round(row / (row.abs().max() / 127)), -127, 127) * (row.abs().max() / 127)
        for row in x.float().reshape(-1, x.shape[-1])
    ]
    return torch.stack(rows).reshape(x.shape).to(x.dtype)


CASES: dict[str, tuple[dict[str, Any], Callable[[], Callable[[Tensor, list[Tensor]], Tensor]]]] = {
    "int8, max": (asked("int8", policy="max"), lambda: static("max", "int8")),
    "int4, quantile": (asked("int4", policy="quantile_0.99"), lambda: static("quantile_0.99", "int4")),
    "fp8_e4m3, max": (asked("fp8_e4m3", policy="max"), lambda: static("max", "fp8_e4m3")),
    "int8, by token": (asked("int8", "token"), lambda: by_token),
    "float16": (asked("float16"), lambda: lambda x, _: x.half().to(x.dtype)),
}


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("case", CASES)
def test_perplexity_is_that_of_a_model_whose_linear_layers_quantize_their_inputs(name: str, case: str) -> None:
    model = tiny(name)
    quantizer, change = CASES[case]
    how = plan(model.get_decoder(), quantizer, measured(model))
    assert len(how.sites) == 12
    found = run(model, EVALUATION, [how])
    assert found.tokens == sum(len(ids) - 1 for ids in EVALUATION)
    assert found.passes == 2 * len(EVALUATION)
    bare, other = tiny(name), quantizing(tiny(name), change())
    for sums, plain in zip(found.sums, (bare, other), strict=True):
        perplexity = math.exp(float(sums.likelihood) / found.tokens)
        assert perplexity == pytest.approx(oracle.perplexity(plain, EVALUATION), rel=2e-5)
    divergence = float(found.sums[1].divergence) / found.tokens
    assert divergence == pytest.approx(plain_divergence(bare, other), rel=1e-3, abs=1e-6)


def smoothing_all(model: Any) -> tuple[Any, int]:
    """All layers quantizing to INT-8, those behind norms smoothed with alpha 0.5; and how many are smoothed."""
    named = linears(model)
    calibration = {name: given_to(model, module) for name, module in named.items()}
    groups = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
    done = 0
    for name, module in named.items():
        beside = next((group for group in groups if name.split(".")[-1] in group), ())
        x = torch.cat([given[0].float() for given in calibration[name]])
        scale = torch.ones(x.shape[1])
        if beside:
            parent = name.rpartition(".")[0]
            weights = torch.cat([named[f"{parent}.{other}"].weight.float() for other in beside])
            scale = (x.abs().amax(0) ** 0.5 / weights.abs().amax(0) ** 0.5).detach()
            done += 1
        threshold = float((x / scale).abs().max())

        def quantized(given: Tensor, scale: Tensor = scale, threshold: float = threshold) -> Tensor:
            made = fake_quantized(given.float() / scale, threshold, "int8", (0.0, 0.0))
            return (made.reshape(given.shape) * scale).to(given.dtype)

        module.forward = lambda given, inner=module.forward, quantized=quantized: inner(quantized(given))
    return model, done


def test_smoothed_perplexity_is_that_of_a_model_whose_norms_are_divided(tmp_path: Path) -> None:
    model = tiny("llama")
    model.save_pretrained(tmp_path)
    known, found = measured_tables(model)
    smooth = smoothings_of(tmp_path, found.sites, found.channels, [0.5])[0.5]
    how = plan(model.get_decoder(), asked("int8", policy="max"), known, smooth)
    assert [(site.component, how.plain.get(site.number)) for site in how.sites[:4]] == [
        ("attention_input", None),
        ("attention_context", NOT_NORMED),
        ("mlp_input", None),
        ("down_input", NOT_NORMED),
    ]
    without = plan(model.get_decoder(), asked("int8", policy="max"), known)
    assert without.plain == {}
    passed = run(model, EVALUATION, [how, without])
    other, done = smoothing_all(tiny("llama"))
    assert done == 3 * 5
    perplexity, plain = (math.exp(float(sums.likelihood) / passed.tokens) for sums in passed.sums[1:])
    assert perplexity == pytest.approx(oracle.perplexity(other, EVALUATION), rel=1e-4)
    assert perplexity != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("policy", ["max", "mse", "quantile_0.9"])
@pytest.mark.parametrize(("format", "granularity"), [("int8", "token"), ("mxfp4", "block"), ("nvfp4", "block")])
def test_finer_scales_are_those_of_what_was_divided(format: str, granularity: str, policy: str) -> None:
    s = np.array([0.5, 1, 2, 4] * 8, np.float32)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    smooth = Smoothing("n", ("m",), x.abs().amax(0).double().numpy(), np.ones(32), s)
    decoder = tiny("llama").get_decoder()
    given = asked(format, granularity, policy, components=["attention_input"])
    how = plan(decoder, given, Histograms({}, {}), {("attention_input", layer): smooth for layer in range(3)})
    divided = x.float() / torch.from_numpy(s)
    largest = float(divided.abs().max()) if format == "nvfp4" else None
    shared = None if granularity == "block" else granularity
    expected = fake_quantize(divided, FORMATS[format], shared, largest, policy)
    for site in how.sites:
        assert torch.equal(how.at[site.number](x), (expected * torch.from_numpy(s)).bfloat16())
    nothing = Smoothing("n", ("m",), np.zeros(32), np.ones(32), s)
    left = plan(decoder, given, Histograms({}, {}), {("attention_input", 0): nothing}).left[0]
    assert left[1] == "the calibration split has nothing but zeros here"


@pytest.mark.parametrize("policy", ["max", "mse", "quantile_0.9"])
@pytest.mark.parametrize(
    ("format", "granularity"), [("int4", "token"), ("int4_asymmetric", "group_16"), ("nvfp4", "block")]
)
def test_dynamic_scales_have_the_policy_of_their_quantizer(format: str, granularity: str, policy: str) -> None:
    places = {("attention_input", layer): "bfloat16" for layer in range(3)}
    known = Histograms(places, {place: (np.array([0x4040], np.uint16), np.array([1])) for place in places})
    given = asked(format, granularity, policy, components=["attention_input"])
    how = plan(tiny("llama").get_decoder(), given, known)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = fake_quantize(x, FORMATS[format], *(([None, 3.0]) if format == "nvfp4" else [granularity, None]), policy)
    assert len(how.at) == 3
    assert all(torch.equal(change(x), expected.bfloat16()) for change in how.at.values())


def test_samples_of_one_token_are_refused() -> None:
    with pytest.raises(UserError, match="no token is predicted"):
        run(tiny("llama"), [[3], [4]], [])


def plain_divergence(without: Any, quantized: Any) -> float:
    """Mean KL divergence, in float64, one position after the other."""
    terms = []
    for ids in EVALUATION:
        with torch.no_grad():
            p, q = (
                torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
                for model in (without, quantized)
            )
        terms += [float((p[at].exp() * (p[at] - q[at])).sum()) for at in range(len(ids) - 1)]
    return math.fsum(terms) / len(terms)


def test_what_changes_nothing_has_the_same_perplexity_and_no_divergence() -> None:
    model = tiny("llama")
    how = plan(
        model.get_decoder(), asked("bfloat16", components=[*LINEAR_INPUTS, "key", "value", "residual"]), measured(model)
    )
    found = run(model, EVALUATION, [how])
    assert len(how.sites) == 21
    assert float(found.sums[0].likelihood) == float(found.sums[1].likelihood)
    assert float(found.sums[1].divergence) == 0


@pytest.mark.parametrize("name", ["qwen3_moe:dense_layer", "gpt_oss", "qwen3_5", "gemma3"])
def test_what_cannot_be_quantized_is_listed_with_the_reason(name: str) -> None:
    model = tiny(name)
    components = [*KINDS["linear_inputs"], *KINDS["kv_cache"]]
    how = plan(model.get_decoder(), asked("int8", policy="max", components=components), measured(model))
    left = {(site.component, why) for site, why in how.left}
    experts = {
        ("expert_down_input", INSIDE_FUSED),
        ("down_input", "no dense MLP and no shared expert: inputs are expert_down_input"),
    }
    none = "linear attention keeps no keys and values"
    cases = {"gemma3": set(), "qwen3_5": {("key", none), ("value", none)}}
    assert left == cases.get(name, experts)
    assert {site.number for site in how.sites} == set(how.at)
    run(model, EVALUATION, [how])


def test_a_site_without_a_measurement_or_with_nothing_finite_has_no_static_scale() -> None:
    decoder = tiny("llama").get_decoder()
    unknown = plan(decoder, asked("int8", policy="max"), Histograms({}, {}))
    assert {why for _, why in unknown.left} == {"not measured, so it has no static scale"}
    places = {(component, layer): "bfloat16" for component in LINEAR_INPUTS for layer in range(3)}
    empty = plan(decoder, asked("nvfp4", "block"), Histograms(places, {}))
    assert {why for _, why in empty.left} == {"the calibration split has no finite value here"}
    rounded = dict.fromkeys(places, "float32")
    codes = {place: (np.array([16256], np.uint16), np.array([1])) for place in places}
    wide = plan(decoder, asked("int8", policy="max"), Histograms(rounded, codes))
    two_level = plan(decoder, asked("nvfp4", "block"), Histograms(rounded, codes))
    for left in (wide.left, two_level.left):
        assert {why for _, why in left} == {"its histogram is of rounded values, so it has no static scale"}
    assert [unknown.sites, empty.sites, wide.sites, two_level.sites] == [[], [], [], []]


def test_a_site_whose_threshold_is_zero_is_not_replaced() -> None:
    """Nothing would change there, and that would count as quantized."""
    decoder = tiny("llama").get_decoder()
    places = {(component, layer): "bfloat16" for component in LINEAR_INPUTS for layer in range(3)}
    zeros = Histograms(places, {place: (np.array([0, 0x8000], np.uint16), np.array([2, 5])) for place in places})
    mostly = Histograms(places, {place: (np.array([0, 0x3F80], np.uint16), np.array([999, 1])) for place in places})
    for format, granularity, policy in [
        ("int8", "tensor", "max"),
        ("int8", "tensor", "mse"),
        ("nvfp4", "block", "max"),
    ]:
        found = plan(decoder, asked(format, granularity, policy), zeros)
        assert {why for _, why in found.left} == {"the calibration split has nothing but zeros here"}
        assert found.sites == []
        assert len(plan(decoder, asked(format, granularity, policy), mostly).sites) == 12
    clipped = plan(decoder, asked("int8_asymmetric", policy="quantile_0.999"), mostly)
    assert {why for _, why in clipped.left} == {
        "its threshold by quantile_0.999 is 0: that share of the calibration split is zeros"
    }
    assert len(plan(decoder, asked("int8", "token"), zeros).sites) == 12


def test_a_site_that_a_pass_does_not_reach_is_an_error() -> None:
    model = tiny("llama")
    never = Site(0, "residual", 7, Place(nn.Identity()))
    with pytest.raises(RuntimeError, match="residual@7 was reached 0 times"):
        run(model, EVALUATION, [Plan([never], {0: lambda x: x}, [])])
