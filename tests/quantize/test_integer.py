"""Errors from histograms equal quantizing the tensors, element by element."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.quantize import fake_quantized
from quantize.measured import assert_same_as_direct, errors_of, tables

from maxact.histogram import code_values, finite_codes
from maxact.quantize.integer import error, reconstruct

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
POLICIES = ["max", "quantile_0.999", "quantile_0.9", "quantile_0.5"]


def patterns(codes: np.ndarray, dtype: str) -> torch.Tensor:
    return torch.from_numpy(codes.astype(np.uint16).view(np.int16)).view(DTYPES[dtype])


def hostile(kind: str, dtype: str) -> torch.Tensor:
    """A [37, 29] tensor that breaks a careless quantizer."""
    rng = np.random.default_rng(sum(map(ord, kind + dtype)))
    shape = (37, 29)
    normal = torch.from_numpy(rng.standard_normal(shape))
    made = {
        "normal": normal,
        "one massive value": torch.where(torch.arange(37 * 29).reshape(shape) == 500, 26000.0, normal),
        "halfway between levels": torch.from_numpy(rng.integers(-254, 255, shape) / 2),
        "zeros of both signs": torch.from_numpy(rng.choice([0.0, -0.0], shape)),
        "mostly zero": torch.where(torch.from_numpy(rng.random(shape) < 0.9995), 0.0, normal),
        "one value": torch.full(shape, -3.0),
        "not finite": torch.where(normal > 1, torch.inf, torch.where(normal < -1, torch.nan, normal)),
        "nothing finite": torch.full(shape, torch.nan),
        "largest": torch.where(normal > 0, torch.finfo(DTYPES[dtype]).max, normal),
    }
    if kind == "any pattern":
        return patterns(rng.integers(0, 65536, shape), dtype)
    if kind == "subnormal":
        return patterns(rng.integers(0, 5, shape) + 0x8000 * rng.integers(0, 2, shape), dtype)
    return made[kind].to(DTYPES[dtype])


KINDS = [
    "normal", "one massive value", "halfway between levels", "zeros of both signs", "mostly zero", "one value",
    "not finite", "nothing finite", "largest", "any pattern", "subnormal",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("calibrated", KINDS)
@pytest.mark.parametrize("evaluated", KINDS)
def test_errors_equal_direct_quantization(calibrated: str, evaluated: str, dtype: str) -> None:
    splits = {"calibration": [hostile(calibrated, dtype)], "evaluation": [hostile(evaluated, dtype)[:20]]}
    assert_same_as_direct(splits, POLICIES)


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_width_of_integers_equals_direct_quantization(bits: int) -> None:
    splits = {"calibration": [hostile("normal", "bfloat16")], "evaluation": [hostile("one massive value", "bfloat16")]}
    found = assert_same_as_direct(splits, POLICIES, bits)
    assert set(found.format) == {f"int{bits}"}


@given(st.data(), st.sampled_from(sorted(DTYPES)), st.integers(2, 8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_two_tensors_equal_direct_quantization(data: st.DataObject, dtype: str, bits: int) -> None:
    codes = st.lists(st.integers(0, 65535), max_size=30)
    splits = {name: [patterns(np.array(data.draw(codes)), dtype)] for name in ("calibration", "evaluation", "rest")}
    assert_same_as_direct(splits, ["max", "quantile_0.999", "quantile_0.5", "quantile_0.0"], bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_every_value_is_reconstructed_as_torch_does_it(dtype: str, bits: int) -> None:
    """All 16-bit values, under thresholds from the smallest subnormal to the largest value: the same bits."""
    values = code_values(dtype)[finite_codes(dtype)].astype(np.float32)
    thresholds = np.unique(np.abs(values))[1:]
    for threshold in [*thresholds[:3], *thresholds[:: len(thresholds) // 40], thresholds[-1]]:
        found = reconstruct(values, float(threshold), bits)
        expected = fake_quantized(torch.from_numpy(values.copy()), float(threshold), bits).numpy()
        assert found.dtype == np.float32
        assert found.view(np.uint32).tolist() == expected.view(np.uint32).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_threshold_but_zero_has_a_scale_of_zero(dtype: str) -> None:
    smallest = np.array([1], np.uint16)
    value = float(code_values(dtype)[1])
    found = error(smallest, np.array([1]), dtype, value, 8)
    assert 0 < found.scale < value
    assert (found.scale < np.finfo(np.float32).tiny) == (dtype == "bfloat16")  # a subnormal scale
    assert found.mae < value / 100
    assert error(smallest, np.array([1]), dtype, 0.0, 8).scale == 0


def test_halves_round_to_even_and_what_is_past_the_threshold_is_clamped() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 127.0, 127.5, 1000.0, -1000.0], np.float32)
    assert reconstruct(x, 127.0, 8).tolist() == [0, 2, 2, 0, -2, 127, 127, 127, -127]


def test_a_threshold_of_zero_has_no_error_and_no_sqnr() -> None:
    splits = {
        "calibration": [hostile("zeros of both signs", "bfloat16")],
        "evaluation": [hostile("normal", "bfloat16")],
    }
    for row in errors_of(*tables({("gate", 3): splits}), 8, POLICIES).to_dict("records"):
        assert [row[name] for name in ("threshold", "scale", "mae", "rmse", "relative_mae", "relative_rmse")] == [0] * 6
        assert math.isnan(row["sqnr_db"])
        assert row["clip_rate"] == 1


def test_zeros_are_reconstructed_without_error() -> None:
    splits = {"calibration": [hostile("normal", "float16")], "evaluation": [hostile("zeros of both signs", "float16")]}
    for row in errors_of(*tables({("gate", 3): splits}), 8, POLICIES).to_dict("records"):
        assert [row[name] for name in ("mae", "rmse", "clip_rate")] == [0] * 3
        assert all(
            math.isnan(row[name]) for name in ("relative_mae", "relative_rmse", "sqnr_db")
        )  # nothing to relate to


def test_sites_stay_in_order_and_float32_and_absent_ones_are_left_out() -> None:
    splits = {"calibration": [hostile("normal", "bfloat16")], "evaluation": [hostile("normal", "bfloat16")]}
    sites, histograms = tables({("embedding", None): splits, ("router_logits", 0): splits, ("gate", 0): splits})
    more = sites.iloc[[2]].assign(site=3, component="final_norm", layer=pd.NA, status="not applicable", dtype=None)
    sites = pd.concat([sites, more], ignore_index=True)
    sites.loc[1, ["dtype", "rounded"]] = ["float32", True]
    found = errors_of(sites, histograms, 8, ["max", "quantile_0.999"])
    assert list(found.component) == ["embedding", "embedding", "gate", "gate"]
    assert found.layer.isna().tolist() == [True, True, False, False]


def test_a_site_without_finite_values_is_told_as_missing() -> None:
    nothing = {"calibration": [hostile("nothing finite", "bfloat16")], "evaluation": [hostile("normal", "bfloat16")]}
    found = errors_of(*tables({("residual", 0): nothing}), 8, ["max"]).iloc[0]
    assert math.isnan(found.threshold)
    assert math.isnan(found.mae)
    assert found.elements > 0
