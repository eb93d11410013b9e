"""The curve of error against threshold equals quantizing the tensor under each threshold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.quantize import errors_between, fake_quantized, finite_values
from quantize.measured import tables
from quantize.test_errors import KINDS, hostile

from maxact.quantize.curves import HARDEST, PEAK, curve, curve_formats, curve_sites
from maxact.quantize.stage import site_curves, site_errors, sixteen_bits, splits_of


def histogram(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    _, histograms = tables({("residual", 0): {"evaluation": [x]}})
    return histograms["code"].to_numpy(), histograms["count"].to_numpy()


@pytest.mark.parametrize("format", ["int8", "fp8_e4m3"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_equals_quantizing_under_each_threshold(kind: str, format: str) -> None:
    x = hostile(kind, "bfloat16")
    finite = finite_values([x])
    found = curve(*[histogram(x)], "bfloat16", format)
    if not len(finite) or not finite.abs().max() > 0:
        assert found == []
        return
    largest = float(finite.abs().max())
    wanted = [largest * 2 ** (-step / 8) for step in range(-8, 153)]
    assert [row["threshold"] for row in found] == [threshold for threshold in wanted if threshold < 3.4e38]
    for row in found[::9]:
        made = fake_quantized(finite, row["threshold"], format)
        expected = errors_between(made, finite)["sqnr_db"]
        assert math.isclose(row["sqnr_db"], math.inf if expected is None else expected, rel_tol=1e-9, abs_tol=1e-9), row
        assert row["clip_rate"] == int((finite.double().abs() > row["threshold"]).sum()) / len(finite)


def test_the_curve_has_its_top_where_the_best_threshold_is() -> None:
    """One massive value among normal ones: clipping it costs more than it gains, and so says the curve."""
    x = hostile("one massive value", "bfloat16")
    rows = curve(histogram(x), "bfloat16", "int8")
    best = max(rows, key=lambda row: row["sqnr_db"])
    assert best["threshold"] >= 25984  # 26,000 in bfloat16
    assert rows[-1]["sqnr_db"] < 1


def test_formats_with_curves_are_the_first_of_each_kind() -> None:
    assert curve_formats(["float16", "int4_asymmetric", "int4", "int8", "fp8_e5m2", "fp8_e4m3"]) == ["int4", "fp8_e5m2"]
    assert curve_formats(["float16", "fp8_e4m3"]) == ["fp8_e4m3"]
    assert curve_formats(["bfloat16"]) == []


@pytest.mark.parametrize("hardest", ["down_input", "expert_down_input"])
def test_the_sites_are_the_peak_and_the_hardest_input(hardest: str) -> None:
    normal, massive = hostile("normal", "bfloat16"), hostile("one massive value", "bfloat16").clamp(-100, 100)
    made = {
        ("residual", 0): normal, ("mlp_input", 0): normal, (hardest, 0): massive,
        ("residual", 1): massive, ("gate", 1): massive, ("down_input", 1): massive,
    }  # fmt: skip
    sites, histograms = tables({at: {"calibration": [x], "evaluation": [x]} for at, x in made.items()})
    sites["peak"] = [float(x.float().abs().max()) for x in made.values()]
    split = splits_of(histograms)
    errors = site_errors(sixteen_bits(sites), split, ["float16", "int8", "fp8_e4m3"], ["max", "mse"])
    assert curve_sites(sites, errors, ["float16", "int8", "fp8_e4m3"]) == {3: PEAK, 2: HARDEST}
    rows = pd.DataFrame(site_curves(sixteen_bits(sites), split, errors, ["float16", "int8", "fp8_e4m3"]))
    told = rows[["site", "component", "layer", "reason", "format"]].drop_duplicates().values.tolist()
    assert told == [
        [2, hardest, 0, HARDEST, "int8"], [2, hardest, 0, HARDEST, "fp8_e4m3"],
        [3, "residual", 1, PEAK, "int8"], [3, "residual", 1, PEAK, "fp8_e4m3"],
    ]  # fmt: skip


def test_without_finite_values_no_site_has_a_curve() -> None:
    nothing = hostile("nothing finite", "bfloat16")
    sites, histograms = tables({("residual", 0): {"calibration": [nothing], "evaluation": [nothing]}})
    split = splits_of(histograms)
    errors = site_errors(sixteen_bits(sites), split, ["int8"], ["max"])
    assert curve_sites(sites.assign(peak=math.nan), errors, ["int8"]) == {}
    assert site_curves(sites.assign(peak=math.nan), split, errors, ["int8"]) == []
