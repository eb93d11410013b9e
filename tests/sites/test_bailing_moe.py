"""Ling's adapter on a model with Ling's module names and return layouts: a layout test (tests/layout), not Ling's own code."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from layout.checkpoint import write_layout
from measure.captured import assert_agrees
from oracles.statistics import Sampled
from sites.recorded import Recorder, run, seen_by_taps

from maxact.checkpoints.load import load_model
from maxact.checkpoints.own_code import code_digest, register
from maxact.measure.headline import headline
from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.sites.components import COMPONENTS, PAPER
from maxact.sites.find import find_sites
from maxact.sites.taps import tapped
from maxact.study import Peak

SAMPLES = [Sample(0, "rest", (5, 6, 7, 9, 11)), Sample(1, "calibration", (8,)), Sample(2, "evaluation", (9, 5, 80))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("layout") / "checkpoint", initializer_range=0.5)


def opened(folder: Path, dtype: str = "bfloat16") -> Any:
    register(folder, code_digest(folder))
    return load_model(folder, dtype, expected_model_type="bailing_moe")


def wrapped(model: Any) -> dict[tuple[str, int | None], list[Sampled]]:
    """Every site's tensors, by replacing the `forward` of modules; the router's logits by a product written here."""
    seen: dict[tuple[str, int | None], list[Sampled]] = defaultdict(list)
    current: list[Sample] = []

    def keep(place: tuple[str, int | None], x: torch.Tensor) -> None:
        seen[place].append((current[-1].sample, current[-1].split, x.clone().flatten(0, -2)))

    def wrap(module: Any, place: tuple[str, int | None]) -> None:
        inner = module.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            output = inner(*arguments, **keywords)
            keep(place, output[0] if isinstance(output, tuple) else output)
            return output

        module.forward = forward

    def wrap_router(router: Any, layer: int) -> None:
        inner = router.forward

        def forward(x: torch.Tensor) -> Any:
            keep(("router_logits", layer), x[0].float() @ router.weight.float().T)
            return inner(x)

        router.forward = forward

    decoder = model.model
    wrap(decoder.word_embeddings, ("embedding", None))
    wrap(decoder.norm, ("final_norm", None))
    for number, block in enumerate(decoder.layers):
        wrap(block, ("residual", number))
        wrap(block.attention, ("attention_output", number))
        wrap(block.mlp, ("mlp_output", number))
        if number == 0:
            wrap(block.mlp.gate_proj, ("gate", number))
        else:
            wrap(block.mlp.shared_experts.gate_proj, ("gate", number))
            wrap_router(block.mlp.gate, number)
    with torch.inference_mode():
        for sample in SAMPLES:
            current.append(sample)
            decoder(torch.tensor([sample.token_ids]))
    return seen


def by_place(found: Measurement) -> dict[tuple[str, int | None], dict[str, Any]]:
    rows = found.sites[found.sites.status == "measured"].to_dict("records")
    return {(row["component"], None if pd.isna(row["layer"]) else int(row["layer"])): row for row in rows}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_site_equals_the_oracle_on_what_wrappers_see(dtype: str, folder: Path) -> None:
    found = measure(opened(folder, dtype), SAMPLES, list(PAPER))
    seen, rows = wrapped(opened(folder, dtype)), by_place(found)
    assert set(rows) == set(seen)
    for place, tensors in seen.items():
        assert_agrees(found, tensors, rows[place]["site"])
        assert rows[place]["dtype"] == ("float32" if place[0] == "router_logits" else dtype)


def test_a_dense_block_has_no_router_and_experts_without_a_shared_one_have_no_gate(folder: Path) -> None:
    decoder = opened(folder).get_decoder()
    del decoder.layers[2].mlp.shared_experts
    absent = [(site.component, site.layer) for site in find_sites(decoder, list(PAPER)) if site.place is None]
    assert absent == [("router_logits", 0), ("gate", 2)]


def test_inputs_and_choices_are_taken_where_the_layout_has_them(folder: Path) -> None:
    seen, _, _ = seen_by_taps(opened(folder).get_decoder())
    decoder, recorder = opened(folder).get_decoder(), Recorder()
    chosen: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(decoder.layers):
        recorder.given(block.attention.query_key_value, "attention_input", layer)
        recorder.given(block.attention.dense, "attention_context", layer)
        recorder.given(block.mlp, "mlp_input", layer)
        dense = block.mlp if layer == 0 else block.mlp.shared_experts
        recorder.given(dense.down_proj, "down_input", layer)
        if layer:
            recorder.returned(block.mlp.gate, "chosen", layer)
    sites = find_sites(decoder, ["residual"])
    with tapped(sites, lambda *_: None, lambda layer, index_TK, experts: chosen.update({layer: index_TK})):
        run(decoder)
    for (component, layer), (x,) in recorder.seen.items():
        assert torch.equal(x, chosen[layer or 0] if component == "chosen" else seen[component, layer][0])
    absent = {
        site.component for site in find_sites(decoder, list(COMPONENTS)) if site.layer == 1 and site.place is None
    }
    assert absent == {"query", "key", "value", "attention_update", "expert_gate", "expert_down_input", "mlp_update"}


def test_the_logits_of_all_experts_are_recorded_not_the_choice(folder: Path) -> None:
    found = measure(opened(folder), SAMPLES, ["router_logits"])
    measured = found.sites[found.sites.status == "measured"]
    assert (found.channels.groupby("site").size() == 8).all()  # experts, of which 2 are chosen
    assert (measured["min"] < 0).all()  # no index and no share is
    assert (measured["max"] % 1 != 0).all()


PEAKS = {
    "embedding": Peak(component="embedding", channel=5, value=-2048.0),
    "attention of a dense block": Peak(component="attention_output", layer=0, channel=50, value=7040.0),
    "attention of a block of experts": Peak(component="attention_output", layer=2, channel=0, value=-7040.0),
    "dense MLP": Peak(component="mlp_output", layer=0, channel=11, value=-10048.0),
    "block of experts": Peak(component="mlp_output", layer=1, channel=63, value=65280.0),
    "residual after a dense block": Peak(component="residual", layer=0, channel=37, value=12288.0),
    "residual after experts": Peak(component="residual", layer=2, channel=37, value=-12288.0),
    "gate of a dense block": Peak(component="gate", layer=0, channel=100, value=3008.0),
    "gate of the shared experts": Peak(component="gate", layer=1, channel=7, value=-3008.0),
    "final norm": Peak(component="final_norm", channel=44, value=1520.0),
}


@pytest.mark.parametrize("name", PEAKS)
def test_a_planted_peak_is_measured_where_and_as_it_was_planted(name: str, tmp_path: Path) -> None:
    peak, token = PEAKS[name], 80  # sample 2, position 2
    found = measure(opened(write_layout(tmp_path / "planted", peak, token)), SAMPLES, list(PAPER))
    M = headline(found)["M_with_gate" if peak.component == "gate" else "M"]
    place = {"component": peak.component, "layer": peak.layer, "channel": peak.channel, "sample": 2, "position": 2}
    assert {key: M[key] for key in place} == place
    assert (M["signed"], M["ties"]) == (peak.value, [])
