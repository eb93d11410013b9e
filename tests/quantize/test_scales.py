"""Scales for deployment: against plain loops, and where there is nothing to scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import scales as oracle

from maxact.quantize.scales import Scale, static_scale

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
