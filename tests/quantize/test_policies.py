"""Thresholds equal those that their definitions give on the tensors themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.quantize import clipping_threshold, published_divergence_threshold
from quantize.measured import assert_same_as_direct

from maxact.histogram import code_values
from maxact.quantize.errors import Distribution, error
from maxact.quantize.formats import FORMATS
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer

FORMATS_TRIED = ["int8", "int4", "int4_asymmetric", "fp8_e4m3"]


def tensor(kind: str, size: int = 300) -> torch.Tensor:
    rng = np.random.default_rng(sum(map(ord, kind)))
    normal = rng.standard_normal(size)
    made = {
        "normal": normal,
        "heavy tail": normal * np.exp(2 * rng.standard_normal(size)),
        "one massive value": np.where(np.arange(size) == 7, -26000, normal),
        "one sign": np.abs(normal),
        "one value": np.full(size, -3.0),
        "two values": rng.choice([0.5, 96.0], size),
        "mostly zero": np.where(rng.random(size) < 0.9, 0.0, normal),
        "zeros": np.zeros(size),
        "subnormal": normal * 1e-39,
        "not finite": np.where(normal > 1, np.inf, np.where(normal < -1, np.nan, normal)),
        "nothing": np.array([]),
    }
    return torch.from_numpy(np.asarray(made[kind], dtype=np.float64)).to(torch.bfloat16)


KINDS = [
    "normal", "heavy tail", "one massive value", "one sign", "one value", "two values", "mostly zero", "zeros",
    "subnormal", "not finite", "nothing",
]  # fmt: skip


def histogram(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    codes = x[torch.isfinite(x)].view(torch.int16).numpy().view(np.uint16)
    return np.unique(codes, return_counts=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS_TRIED)
@pytest.mark.parametrize("policy", ["max", "mse", "entropy", "quantile_0.99"])
def test_thresholds_equal_those_of_the_definition(policy: str, format: str, kind: str) -> None:
    x = tensor(kind)
    found = threshold_of(policy, *histogram(x), "bfloat16", FORMATS[format])
    expected = clipping_threshold([x], policy, format)
    assert (found == expected) if expected is not None else np.isnan(found)


@pytest.mark.parametrize("policy", ["mse", "entropy"])
def test_errors_under_searched_thresholds_equal_direct_quantization(policy: str) -> None:
    splits = {"calibration": [tensor("heavy tail")], "evaluation": [tensor("one massive value")]}
    for format in FORMATS_TRIED:
        assert_same_as_direct(splits, [policy], format)


def test_no_threshold_is_much_better_than_that_of_least_squares() -> None:
    """The grid is a 32nd of an octave around the best quarter: every other threshold loses, or gains less than 1 %."""
    codes, counts = histogram(tensor("heavy tail", 20_000))
    whole = Distribution.of(codes, counts, "bfloat16")
    for name in ("int8", "int4"):
        found = threshold_of("mse", codes, counts, "bfloat16", FORMATS[name])
        least = error(whole, quantizer(FORMATS[name], found)).rmse
        others = np.unique(np.abs(code_values("bfloat16")[codes]))
        assert least < 1.01 * min(error(whole, quantizer(FORMATS[name], float(t))).rmse for t in others if t > 0)


def test_least_squares_clips_few_bits_and_not_many() -> None:
    codes, counts = histogram(tensor("normal", 20_000))
    largest = threshold_of("max", codes, counts, "bfloat16", FORMATS["int8"])
    thresholds = [threshold_of("mse", codes, counts, "bfloat16", FORMATS[name]) for name in ("int3", "int8", "int12")]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < 0.8 * largest
    assert thresholds[2] == largest


def large(kind: str) -> torch.Tensor:
    rng = np.random.default_rng(17)
    made = {
        "normal": rng.standard_normal(100_000),
        "laplace": rng.laplace(size=100_000),
        "none below 1": 1 + rng.exponential(size=100_000),
        "one massive value": np.concatenate([rng.standard_normal(100_000), [4000.0]]),
    }
    return torch.from_numpy(made[kind]).to(torch.bfloat16)


@pytest.mark.parametrize("kind", ["normal", "laplace", "none below 1", "one massive value"])
@pytest.mark.parametrize("format", ["int8", "int4", "fp8_e4m3"])
def test_least_divergence_clips_few_of_what_is_not_massive(kind: str, format: str) -> None:
    """Also where no |x| is 0 or small, and where all but one element are in a thousandth of the range."""
    codes, counts = histogram(large(kind))
    threshold = threshold_of("entropy", codes, counts, "bfloat16", FORMATS[format])
    magnitudes = np.abs(code_values("bfloat16")[codes])
    assert counts[magnitudes > threshold].sum() < 0.01 * counts.sum()
    if kind == "one massive value":
        assert threshold < 6


@pytest.mark.parametrize(("format", "decibels"), [("int8", 0.5), ("int6", 1), ("int4", 5)])
@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_least_divergence_loses_little_more_than_least_squares(kind: str, format: str, decibels: float) -> None:
    codes, counts = histogram(large(kind))
    whole = Distribution.of(codes, counts, "bfloat16")
    found = {
        policy: error(
            whole, quantizer(FORMATS[format], threshold_of(policy, codes, counts, "bfloat16", FORMATS[format]))
        ).sqnr_db
        for policy in ("mse", "entropy")
    }
    assert found["mse"] - decibels < found["entropy"] <= found["mse"] + 0.1


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_least_divergence_is_near_the_published_steps_also_where_both_clip_too_little(kind: str) -> None:
    codes, counts = histogram(large(kind))
    whole = Distribution.of(codes, counts, "bfloat16")

    def reached(format: str, threshold: float) -> float:
        return error(whole, quantizer(FORMATS[format], threshold)).sqnr_db

    lost, also_ours = {}, {}
    for format, levels in (("int8", 128), ("int4", 8)):
        ours = reached(format, threshold_of("entropy", codes, counts, "bfloat16", FORMATS[format]))
        published = reached(format, published_divergence_threshold(large(kind), levels))
        assert ours == pytest.approx(published, abs=1.5)
        best = reached(format, threshold_of("mse", codes, counts, "bfloat16", FORMATS[format]))
        lost[format], also_ours[format] = best - published, best - ours
    if kind == "normal":
        assert lost["int8"] < 0.1
        assert (lost["int4"] > 3, also_ours["int4"] > 4) == (True, True)
