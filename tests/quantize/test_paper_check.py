"""Their method from histograms equals their definition on whole tensors, and their published files agree with it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import paper_check as by_definition
from quantize.measured import tables
from quantize.test_errors import KINDS, hostile

from maxact.quantize.paper_check import largest, linear_quantile, their_error

NAMES = {
    "elements": "count", "mae": "mae", "rmse": "rmse", "relative_mae": "rel_mae", "relative_rmse": "rel_rmse",
    "sqnr_db": "sqnr_db", "clip_rate": "clip_rate",
}  # fmt: skip


def histogram(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    _, histograms = tables({("residual", 0): {"evaluation": [x]}})
    return histograms["code"].to_numpy(np.uint16), histograms["count"].to_numpy(np.int64)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "finite" not in kind])
def test_thresholds_and_errors_equal_their_definition(kind: str, dtype: str) -> None:
    drawn = hostile(kind, dtype)
    drawn = torch.where(torch.isfinite(drawn), drawn, 0.5)  # theirs knows no others
    calibration, evaluation = drawn[:20], drawn[10:]
    codes, counts = histogram(calibration)
    for quantile, bins in [(None, 2), (0.999, 2048), (0.9, 2048), (0.5, 7)]:
        found = largest(codes, dtype) if quantile is None else linear_quantile(codes, counts, dtype, quantile, bins)
        assert (found.value, found.bin) == by_definition.threshold(calibration, quantile, bins)
        for bits in (8, 4):
            error = their_error(*histogram(evaluation), dtype, found.value, bits)
            if found.value == 0:
                assert error is None
                continue
            assert error is not None
            for ours, theirs in NAMES.items():
                value = by_definition.errors(evaluation, found.value, bits)[theirs]
                missing = math.isnan(vars(error)[ours]) and value in (0.0, math.inf)
                assert missing or math.isclose(vars(error)[ours], value, rel_tol=1e-9, abs_tol=1e-9), (ours, value)


@pytest.mark.parametrize("kind", ["normal", "one massive value", "mostly zero", "halfway between levels"])
def test_the_bin_bounds_the_true_quantile(kind: str) -> None:
    x = hostile(kind, "bfloat16")
    ordered = x.float().abs().reshape(-1).sort().values
    for quantile in (0.5, 0.9, 0.999):
        found = linear_quantile(*histogram(x), "bfloat16", quantile, 2048)
        true = float(ordered[math.ceil(quantile * len(ordered)) - 1])
        assert found.value == found.at_least <= true < found.below


def test_one_massive_value_puts_the_quantile_into_the_first_bin() -> None:
    """The case of the paper: the threshold is 0 or one bin, whatever the distribution is."""
    x = hostile("one massive value", "bfloat16")
    found = linear_quantile(*histogram(x), "bfloat16", 0.99, 2048)
    assert (found.bin, found.value) == (0, 0.0)
    assert found.below == pytest.approx(26000 / 2047, rel=1e-3)
    assert their_error(*histogram(x), "bfloat16", found.value, 8) is None


def test_nothing_to_calibrate_on_gives_no_threshold() -> None:
    empty = histogram(hostile("nothing finite", "bfloat16"))
    assert math.isnan(linear_quantile(*empty, "bfloat16", 0.999, 2048).value)
    assert math.isnan(largest(empty[0], "bfloat16").value)
    assert their_error(*histogram(hostile("normal", "bfloat16")), "bfloat16", math.nan, 8) is None
    assert their_error(*empty, "bfloat16", 3.0, 8) is None
    zeros = histogram(hostile("zeros of both signs", "bfloat16"))
    assert linear_quantile(*zeros, "bfloat16", 0.999, 2048).value == 0


def test_the_published_files_agree_with_the_definition(authors_results: Path) -> None:
    """Thresholds on whole bins of 2,048, half of them in the first; fields that follow from others do."""
    files = sorted((authors_results / "quant").glob("*_quant_sanity.json"))
    bins = {}
    for file in files:
        told = json.loads(file.read_text())
        (layer,) = told["selected_layers"]
        at_max, clipped = (told["thresholds"][name][layer] for name in ("max_abs", "clip_q0.999"))
        bin = clipped / at_max * 2047
        assert bin == pytest.approx(round(bin), abs=1e-9), file.name
        assert at_max * round(bin) / 2047 == pytest.approx(clipped, rel=1e-12)
        bins[told["model_name"]] = round(bin)
        rows = {row["policy"]: row for row in told["metrics"]}
        assert set(rows) == {"max_abs", "clip_q0.999"}
        assert len({row["count"] for row in rows.values()}) == 1
        for row in rows.values():
            assert row["sqnr_db"] == pytest.approx(-20 * math.log10(row["rel_rmse"]), abs=1e-6)
        scales = [[row["rmse"] / row["rel_rmse"], row["mae"] / row["rel_mae"]] for row in rows.values()]
        assert scales[0] == pytest.approx(scales[1], rel=1e-6)
    assert len(bins) == 8
    assert sum(bin == 1 for bin in bins.values()) == 4, bins
