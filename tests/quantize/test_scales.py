"""Scales for deployment: against plain loops, and where there is nothing to scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import scales as oracle

from maxact.quantize.scales import Scale, smoothing_scales, static_scale

NOTHING = np.array([], np.uint16), np.array([], np.int64)


def counted(*tensors: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The histogram of the finite values."""
    codes = [x[torch.isfinite(x)].contiguous().view(torch.int16).numpy().view(np.uint16) for x in tensors]
    code, count = np.unique(np.concatenate(codes), return_counts=True)
    return code, count.astype(np.int64)


def drawn(seed: int, massive: float = 1.0) -> torch.Tensor:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))
    x[3, 5] *= massive
    return x.to(torch.bfloat16)


@pytest.mark.parametrize("format", ["int8", "fp8_e4m3"])
@pytest.mark.parametrize("policy", ["max", "quantile_0.99", "mse", "entropy"])
def test_a_static_scale_is_that_of_the_definition(policy: str, format: str) -> None:
    calibration = [drawn(0, massive=80.0), drawn(1)]
    found = static_scale(counted(*calibration), counted(drawn(2)), "bfloat16", format, policy)
    assert isinstance(found, Scale)
    assert found.scale == oracle.static_scale(calibration, format, policy)
    assert found.error.elements == 64 * 8
    assert 0 < found.error.relative_rmse < 1


def test_what_is_zero_or_not_finite_has_no_scale_but_a_reason() -> None:
    other = counted(drawn(0))
    zeros = counted(torch.zeros(4, dtype=torch.bfloat16))
    nan = counted(torch.full((4,), math.nan, dtype=torch.bfloat16))
    tiny = counted(torch.tensor([2.0**-133], dtype=torch.bfloat16))
    for calibration, reason in [
        (NOTHING, "the calibration split has no finite value here"),
        (nan, "the calibration split has no finite value here"),
        (zeros, "the threshold is 0: the calibration split gives no scale"),
    ]:
        assert static_scale(calibration, other, "bfloat16", "int8", "max") == reason
    assert "is no normal float32" in str(static_scale(tiny, other, "bfloat16", "int8", "max"))
    # A quantile of mostly zeros is 0 although the largest value is not.
    mostly = counted(torch.tensor([0.0] * 99 + [5.0], dtype=torch.bfloat16))
    assert "threshold is 0" in str(static_scale(mostly, other, "bfloat16", "int8", "quantile_0.9"))


def test_the_error_of_an_empty_evaluation_split_is_not_defined() -> None:
    found = static_scale(counted(drawn(0)), NOTHING, "bfloat16", "int8", "max")
    assert isinstance(found, Scale)
    assert math.isnan(found.error.relative_rmse)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smoothing_is_equation_4_by_plain_loops(alpha: float) -> None:
    inputs = [drawn(0, massive=900.0), drawn(1)]
    weights = [drawn(2)[:5], drawn(3)[:3]]
    x_C = torch.cat(inputs).abs().amax(0).double().numpy()
    w_C = torch.cat(weights).abs().amax(0).double().numpy()
    found = smoothing_scales(x_C, w_C, alpha)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert found == pytest.approx(oracle.smoothing_scales(inputs, weights, alpha), rel=1e-7)


def test_channels_without_activations_or_weights_stay_as_they_are() -> None:
    found = smoothing_scales(np.array([0.0, 4.0, 0.0, 4.0]), np.array([1.0, 0.0, 0.0, 1.0]), 0.5)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [1.0, 1.0, 1.0, 2.0]
    one = smoothing_scales(np.array([9.0]), np.array([1.0]), 0.5)
    assert isinstance(one, np.ndarray)
    assert one.tolist() == [3.0]


def test_a_channel_that_is_not_finite_is_named() -> None:
    fine, nan, infinite = np.array([1.0, 1.0]), np.array([1.0, math.nan]), np.array([math.inf, 1.0])
    assert "channel 1 of the activations" in str(smoothing_scales(nan, fine, 0.5))
    assert "channel 0 of the weights" in str(smoothing_scales(fine, infinite, 0.5))
    assert "s of channel 0 is no normal float32" in str(
        smoothing_scales(np.array([3e38, 1.0]), np.array([1e-40, 1.0]), 0.5)
    )
