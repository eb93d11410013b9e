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
from quantize.measured import ERRORS, assert_same_as_direct, errors_of, tables

from maxact.histogram import code_values, finite_codes
from maxact.quantize.errors import Distribution, error
from maxact.quantize.formats import FORMATS
from maxact.quantize.quantizers import quantizer, reconstruct
from maxact.results.decibels import exact_as_infinite

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
POLICIES = ["max", "quantile_0.999", "quantile_0.9", "quantile_0.5"]
SCALED = ["int8", "int4", "int3_asymmetric", "int8_asymmetric", "fp8_e4m3", "fp8_e5m2"]
CASTS = ["float16", "bfloat16"]


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
    for format in SCALED:
        assert_same_as_direct(splits, POLICIES, format)
    for format in CASTS:
        assert_same_as_direct(splits, ["none"], format)


@pytest.mark.parametrize("bits", range(2, 17))
def test_every_width_of_integers_equals_direct_quantization(bits: int) -> None:
    splits = {"calibration": [hostile("normal", "bfloat16")], "evaluation": [hostile("one massive value", "bfloat16")]}
    assert set(assert_same_as_direct(splits, POLICIES, f"int{bits}").format) == {f"int{bits}"}


@given(st.data(), st.sampled_from(sorted(DTYPES)), st.sampled_from([*SCALED, "int2", "int5", "int16"]))
@settings(max_examples=300)
def test_any_two_tensors_equal_direct_quantization(data: st.DataObject, dtype: str, format: str) -> None:
    codes = st.lists(st.integers(0, 65535), max_size=30)
    splits = {name: [patterns(np.array(data.draw(codes)), dtype)] for name in ("calibration", "evaluation", "rest")}
    assert_same_as_direct(splits, ["max", "quantile_0.999", "quantile_0.5", "quantile_0.0"], format)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", [*SCALED, *CASTS, "int2", "int5", "int16"])
def test_every_value_is_reconstructed_as_torch_does_it(dtype: str, format: str) -> None:
    """All 16-bit values, under thresholds from the smallest subnormal to the largest value: the same bits."""
    values = code_values(dtype)[finite_codes(dtype)].astype(np.float32)
    thresholds = np.unique(np.abs(values))[1:]
    for threshold in [*thresholds[:3], *thresholds[:: len(thresholds) // 40], thresholds[-1]]:
        for low, high in [(-threshold, threshold), (-threshold / 5, threshold), (threshold, threshold)]:
            how = quantizer(FORMATS[format], float(threshold), float(low), float(high))
            found = reconstruct(values, how)
            x = torch.from_numpy(values.copy())
            expected = fake_quantized(x, float(threshold), format, (float(low), float(high))).numpy()
            assert found.dtype == np.float32
            if how.scale == 0:
                assert not found.any()
                assert not expected.any()
            else:
                assert found.view(np.uint32).tolist() == expected.view(np.uint32).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_scale_may_be_subnormal(dtype: str) -> None:
    smallest = Distribution.of(np.array([1], np.uint16), np.array([1]), dtype)
    value = float(code_values(dtype)[1])
    how = quantizer(FORMATS["int8"], value)
    assert 0 < how.scale < value
    assert (how.scale < np.finfo(np.float32).tiny) == (dtype == "bfloat16")
    assert error(smallest, how).mae < value / 100
    assert quantizer(FORMATS["int8"], 0.0).scale == 0


def test_a_scale_of_zero_reconstructs_zeros() -> None:
    how = quantizer(FORMATS["fp8_e5m2"], 1e-45)
    assert how.scale == 0
    assert reconstruct(np.array([1.0, -3.0], np.float32), how).tolist() == [0, 0]


def test_what_float16_cannot_hold_becomes_infinite_and_is_counted() -> None:
    x = torch.tensor([65504.0, 65536.0, -70000.0, 1.0], dtype=torch.bfloat16)
    row = errors_of(*tables({("residual", 0): {"calibration": [x], "evaluation": [x]}}), ["float16"], ["max"]).iloc[0]
    assert row.policy == "none"
    assert row.clip_rate == 0.75  # 65,504 is no bfloat16: it is 65,536 there
    assert row.rmse == math.inf
    assert row.sqnr_db == -math.inf


def test_halves_round_to_even_and_what_is_past_the_threshold_is_clamped() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 127.0, 127.5, 1000.0, -1000.0], np.float32)
    assert reconstruct(x, quantizer(FORMATS["int8"], 127.0)).tolist() == [0, 2, 2, 0, -2, 127, 127, 127, -127]


@pytest.mark.parametrize("format", SCALED)
@pytest.mark.parametrize("calibrated", ["zeros of both signs", "mostly zero"])
def test_under_a_threshold_of_zero_the_error_is_not_defined(calibrated: str, format: str) -> None:
    """Nothing to calibrate on is no exact reconstruction."""
    splits = {"calibration": [hostile(calibrated, "bfloat16")], "evaluation": [hostile("normal", "bfloat16")]}
    for row in errors_of(*tables({("gate", 3): splits}), [format], ["quantile_0.9", "mse"]).to_dict("records"):
        if row["policy"] == "mse" and calibrated == "mostly zero":
            assert row["rmse"] > 0
            continue
        assert [row[name] for name in ("threshold", "scale")] == [0, 0]
        assert all(math.isnan(row[name]) for name in ERRORS)
        assert math.isnan(exact_as_infinite(pd.DataFrame([row]))[0])


def test_zeros_are_exact_under_a_threshold_of_zero() -> None:
    zeros = [hostile("zeros of both signs", "bfloat16")]
    splits = {"calibration": zeros, "evaluation": zeros}
    for row in errors_of(*tables({("gate", 3): splits}), SCALED, POLICIES).to_dict("records"):
        assert [row[name] for name in ("threshold", "mae", "rmse", "clip_rate")] == [0] * 4


def test_zeros_are_reconstructed_without_error() -> None:
    splits = {"calibration": [hostile("normal", "float16")], "evaluation": [hostile("zeros of both signs", "float16")]}
    for row in errors_of(*tables({("gate", 3): splits}), ["int8"], POLICIES).to_dict("records"):
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
    found = errors_of(sites, histograms, ["int8"], ["max", "quantile_0.999"])
    assert list(found.component) == ["embedding", "embedding", "gate", "gate"]
    assert found.layer.isna().tolist() == [True, True, False, False]


def test_a_site_without_finite_values_is_told_as_missing() -> None:
    nothing = {"calibration": [hostile("nothing finite", "bfloat16")], "evaluation": [hostile("normal", "bfloat16")]}
    found = errors_of(*tables({("residual", 0): nothing}), ["int8"], ["max"]).iloc[0]
    assert math.isnan(found.threshold)
    assert math.isnan(found.mae)
    assert found.elements > 0
