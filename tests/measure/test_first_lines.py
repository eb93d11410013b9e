"""The pass of the paper's check sees what a whole measurement sees at that layer, and goes no further."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from measure.models import tiny
from measure.test_run import drawn

from maxact.measure.first_lines import _rows, first_lines, histograms, peak_layer
from maxact.measure.run import measure
from maxact.measure.watch import Sample
from maxact.measurement import SPLITS


def resplit(samples: list[Sample]) -> list[Sample]:
    """The first two to calibrate on, the others to evaluate on."""
    names = ["calibration"] * 2 + ["evaluation"] * len(samples)
    return [Sample(one.sample, name, one.token_ids) for one, name in zip(samples, names, strict=False)]


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3", "gpt_oss"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_counts_are_those_of_a_measurement_of_the_same_samples(name: str, layer: int) -> None:
    samples = resplit(drawn(5, 6))
    found = measure(tiny(name), samples, ["residual"])
    site = int(found.sites.site[found.sites.layer == layer].iloc[0])
    rows = found.histograms[found.histograms.site == site]
    expected = list(zip([SPLITS[split] for split in rows.split], rows.code, rows["count"], strict=True))
    state = histograms(tiny(name), samples, layer)
    assert list(_rows(state).itertuples(index=False, name=None)) == expected
    assert {split for split, _, _ in expected} == {"calibration", "evaluation"}


def test_no_layer_after_the_one_that_is_watched_runs() -> None:
    model, calls = tiny("llama"), []
    for number, layer in enumerate(model.get_decoder().layers):
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    histograms(model, resplit(drawn(5, 3)), 1)
    assert set(calls) <= {0, 1}
    assert calls.count(0) == 3


def test_the_model_is_as_it_was_afterwards() -> None:
    model, samples = tiny("llama"), resplit(drawn(5, 3))
    ids = torch.tensor([samples[0].token_ids])
    with torch.inference_mode():
        before = model.get_decoder()(input_ids=ids).last_hidden_state
        histograms(model, samples, 1)
        assert torch.equal(model.get_decoder()(input_ids=ids).last_hidden_state, before)


def test_the_first_lines_are_the_first_whatever_their_split() -> None:
    rows = [{"sample": number, "split": "rest"} for number in range(7)]
    assert [(row["sample"], row["split"]) for row in first_lines(rows, 2, 3)] == [
        *((number, "calibration") for number in (0, 1)),
        *((number, "evaluation") for number in (2, 3, 4)),
    ]


def test_the_peak_is_the_first_largest_of_the_residual_stream() -> None:
    sites = pd.DataFrame(
        {"component": ["residual"] * 3 + ["gate"], "layer": [0, 1, 2, 1], "peak": [1.0, 5.0, 5.0, 9.0]}
    )
    assert peak_layer(sites) == 1
    assert peak_layer(sites.assign(peak=float("nan"))) is None
