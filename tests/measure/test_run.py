"""Hooks on real architectures see what the model itself reports and what wrappers around its modules see."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from measure.captured import assert_agrees, same
from measure.models import CONTEXT, MODELS, VOCABULARY, tiny
from oracles.statistics import Sampled
from sites.architectures import build

from maxact.errors import UserError
from maxact.measure.headline import headline
from maxact.measure.kernels import KERNELS
from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.sites.components import PAPER

ALL = list(PAPER)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def drawn(seed: int = 0, number: int = 4) -> list[Sample]:
    rng = np.random.default_rng(seed)
    splits = ("calibration", "evaluation", "rest")
    lengths = [1, *rng.integers(2, 20, number - 1).tolist()]
    return [
        Sample(2 * index, splits[index % 3], tuple(rng.integers(0, VOCABULARY, length).tolist()))
        for index, length in enumerate(lengths)
    ]


def classes(samples: list[Sample]) -> dict[int, list[str]]:
    """Of every token, where id 0 is BOS and no text is known."""

    def name(position: int, token: int) -> str:
        return "bos" if token == 0 else "other" if position else "first"

    return {sample.sample: [name(*item) for item in enumerate(sample.token_ids)] for sample in samples}


def wrapped(model: Any, samples: list[Sample]) -> dict[tuple[str, int | None], list[Sampled]]:
    """Every site's tensors, by replacing the `forward` of modules."""
    seen: dict[tuple[str, int | None], list[Sampled]] = defaultdict(list)
    current: list[Sample] = []

    def keep(component: str, layer: int | None, x: torch.Tensor) -> None:
        seen[component, layer].append((current[-1].sample, current[-1].split, x.clone().flatten(0, -2)))

    def wrap(module: Any, component: str, layer: int | None) -> None:
        inner = module.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            output = inner(*arguments, **keywords)
            keep(component, layer, output[0] if isinstance(output, tuple) else output)
            return output

        module.forward = forward

    def wrap_router(mlp: Any, router: Any, layer: int) -> None:
        inner = mlp.forward

        def forward(x: torch.Tensor) -> Any:
            bias = getattr(router, "bias", None)
            keep("router_logits", layer, torch.nn.functional.linear(x.flatten(0, -2), router.weight, bias))
            return inner(x)

        mlp.forward = forward

    decoder = model.get_decoder()
    wrap(decoder.embed_tokens, "embedding", None)
    wrap(decoder.norm, "final_norm", None)
    for layer, block in enumerate(decoder.layers):
        wrap(block, "residual", layer)
        wrap(block.linear_attn if hasattr(block, "linear_attn") else block.self_attn, "attention_output", layer)
        if hasattr(block.mlp, "experts"):
            wrap_router(block.mlp, block.mlp.router if hasattr(block.mlp, "router") else block.mlp.gate, layer)
            if hasattr(block.mlp, "shared_expert"):
                wrap(block.mlp.shared_expert.gate_proj, "gate", layer)
        else:
            wrap(block.mlp.gate_proj, "gate", layer)
        wrap(block.mlp, "mlp_output", layer)
    with torch.inference_mode():
        for sample in samples:
            current.append(sample)
            decoder(input_ids=torch.tensor([sample.token_ids]), use_cache=False)
    return seen


def numbers(measurement: Measurement) -> dict[tuple[str, int | None], int]:
    """Site number by component and layer, of those that were measured."""
    rows = measurement.sites[measurement.sites.status == "measured"].to_dict("records")
    return {(row["component"], None if pd.isna(row["layer"]) else int(row["layer"])): row["site"] for row in rows}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_every_site_equals_the_oracle_on_what_wrappers_see(name: str, dtype: str) -> None:
    samples = drawn()
    found = measure(tiny(name, DTYPES[dtype]), samples, ALL)
    seen = wrapped(tiny(name, DTYPES[dtype]), samples)
    by_place = numbers(found)
    assert set(by_place) == set(seen)
    for place, tensors in seen.items():
        assert_agrees(found, tensors, by_place[place], classes(samples))
        assert found.sites.set_index("site").dtype[by_place[place]] == dtype
    assert list(found.sites[found.sites.status == "measured"].rounded.unique()) == [dtype == "float32"]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_sites_equal_what_the_model_reports(name: str, attention: str) -> None:
    (sample,) = drawn(1, 2)[1:]
    model = tiny(name, attention=attention)
    with torch.inference_mode():
        ids = torch.tensor([sample.token_ids])
        reported = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    hidden = [state[0] for state in reported.hidden_states]
    found = measure(model, [sample], ALL)
    by_place = numbers(found)
    # The last of the hidden states is after the final norm, so the last block's output is not among them.
    expected: dict[tuple[str, int | None], torch.Tensor]
    expected = {("embedding", None): hidden[0], ("final_norm", None): hidden[-1]}
    expected |= {("residual", layer): state for layer, state in enumerate(hidden[1:-1])}
    for place, x_TC in expected.items():
        assert_agrees(found, [(sample.sample, sample.split, x_TC)], by_place[place], classes([sample]))


def test_router_logits_are_those_before_the_softmax() -> None:
    (sample,) = drawn(2, 2)[1:]
    model = tiny("qwen3_moe")
    with torch.inference_mode():
        reported = model(input_ids=torch.tensor([sample.token_ids]), output_router_logits=True, use_cache=False)
    found = measure(model, [sample], ["router_logits"])
    for layer, logits in enumerate(reported.router_logits):
        assert_agrees(found, [(sample.sample, sample.split, logits)], layer, classes([sample]))
    assert found.sites["max"].max() > 1  # no probability is


def test_the_order_of_samples_and_the_kernel_change_nothing(tmp_path: Path) -> None:
    samples, model = drawn(3, 6), tiny("qwen3_moe:dense_layer")
    vocabulary = {token: f"<{token}>" for token in range(0, VOCABULARY, 2)}
    written = []
    ways = [(samples[::-1], "numba"), *((samples, kernel) for kernel in KERNELS)]
    for number, (order, kernel) in enumerate(ways):
        files = measure(model, order, ALL, vocabulary, kernel).write(tmp_path / str(number))
        written.append({name: file.read_bytes() for name, file in files.items()})
    assert all(files == written[0] for files in written)


def test_the_top_names_tokens_where_their_text_is_known() -> None:
    (sample,) = drawn(4, 2)[1:]
    found = measure(tiny("llama"), [sample], ["residual"], {sample.token_ids[0]: "first"}).top
    for row in found.to_dict("records"):
        assert row["token_id"] == sample.token_ids[row["position"]]
        assert same(row["token"], "first" if row["token_id"] == sample.token_ids[0] else None)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples"),
        ([Sample(3, "rest", ())], "sample 3 is empty"),
        ([Sample(0, "rest", (1,)), Sample(5, "rest", (0, VOCABULARY))], f"sample 5 has token id {VOCABULARY}"),
        ([Sample(1, "rest", (-1,))], "sample 1 has token id -1"),
        ([Sample(2, "rest", (1,) * (CONTEXT + 1))], f"sample 2 has {CONTEXT + 1} tokens.*context is {CONTEXT}"),
    ],
)
def test_samples_that_the_model_cannot_take_are_refused(samples: list[Sample], message: str) -> None:
    with pytest.raises(UserError, match=message):
        measure(tiny("llama"), samples, ALL)


def test_a_sample_as_long_as_the_context_is_measured() -> None:
    found = measure(tiny("llama"), [Sample(0, "rest", (5,) * CONTEXT)], ["final_norm"])
    assert found.sites.tokens.item() == CONTEXT


def test_hooks_are_gone_afterwards_even_after_a_failure() -> None:
    model = tiny("llama")
    measure(model, drawn(), ALL)
    model.get_decoder().norm.forward = lambda x: x.undefined
    with pytest.raises(AttributeError):
        measure(model, drawn(), ALL)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_site_that_does_not_fire_fails_the_run() -> None:
    model = tiny("llama")
    block = model.get_decoder().layers[1]
    block.mlp.forward = lambda x: x  # never calls the gate projection
    with pytest.raises(RuntimeError, match="gate at layer 1 fired 0 times"):
        measure(model, drawn(), ALL)


def test_infinities_and_nan_are_counted_and_the_rest_is_measured() -> None:
    models = [tiny("qwen2"), tiny("qwen2")]
    for model in models:
        with torch.no_grad():
            model.get_decoder().embed_tokens.weight[7, 3] = torch.inf
    samples = [Sample(0, "rest", (1, 2)), Sample(1, "rest", (3, 7, 4))]
    found = measure(models[0], samples, ALL)
    row = found.sites.iloc[0]
    first = (row.nonfinite_sample, row.nonfinite_position, row.nonfinite_channel)
    assert (row.positive_infinity, row["nan"], first) == (1, 0, (1, 1, 3))
    for place, tensors in wrapped(models[1], samples).items():
        assert_agrees(found, tensors, numbers(found)[place], classes(samples))
    finite = measure(models[0], samples[:1], ALL)
    assert headline(finite)["M"]["value"] > 0
    assert not finite.sites[["nan", "positive_infinity", "negative_infinity"]].sum().any()


def test_nothing_finite_is_a_result_without_M() -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.get_decoder().embed_tokens.weight.fill_(torch.nan)
    found = measure(model, drawn(), ALL)
    assert headline(found) == {"M": None, "M_with_gate": None}
    measured = found.sites[found.sites.status == "measured"]
    assert (measured["nan"] == measured["count"]).all()


def test_a_float32_site_among_16_bit_ones_is_marked_and_exact() -> None:
    """Some routers compute in float32."""
    model, samples = tiny("llama"), drawn(5)
    norm = model.get_decoder().norm
    inner, seen = norm.forward, []

    def forward(x: torch.Tensor) -> torch.Tensor:
        wide: torch.Tensor = inner(x).float() * 1.0001
        seen.append(wide)
        return wide

    norm.forward = forward
    found = measure(model, samples, ["residual", "final_norm"])
    assert list(found.sites.rounded) == [False, False, False, True]
    captured = [(sample.sample, sample.split, x[0]) for sample, x in zip(samples, seen, strict=True)]
    assert_agrees(found, captured, 3, classes(samples))


def test_a_model_whose_head_is_named_decoder_is_measured() -> None:
    """`get_decoder()` of this model is its head."""
    model, samples = build("modernbert-decoder"), drawn()
    found = measure(model, samples, ["residual"]).sites
    largest = torch.zeros(len(found))
    for sample in samples:
        with torch.inference_mode():
            states = model(torch.tensor([sample.token_ids]), output_hidden_states=True, use_cache=False).hidden_states
        largest = torch.maximum(largest, torch.stack([state.abs().max().float() for state in states[1:]]))
    # The last of the hidden states is behind the final norm.
    assert found.status.tolist() == ["measured"] * 4
    assert found.peak.tolist()[:-1] == largest.tolist()[:-1]


@pytest.mark.parametrize("name", ["mamba", "bloom"])
def test_samples_of_any_length_are_passed_where_the_architecture_sets_no_limit(name: str) -> None:
    model = build(name)
    assert not hasattr(model.config, "max_position_embeddings")
    measured = measure(model, [Sample(0, "rest", tuple(range(90)))], ["residual"])
    assert set(measured.sites.tokens) == {90}
