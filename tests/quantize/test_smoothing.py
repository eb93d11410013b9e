"""SmoothQuant's scales: against plain loops, where there is nothing to scale, and what a pass divides by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import scales as oracle
from quantize.test_scales import drawn

from maxact.quantize.smoothing import Smoothing, smoothing_scales


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


def test_the_largest_smoothed_value_is_that_of_a_pass() -> None:
    """Divided in float32, so that nothing of the calibration split is beyond it."""
    x = drawn(0, massive=900.0)
    x_C, w_C = x.abs().amax(0).double().numpy(), np.linspace(0.1, 3, 8)
    found = smoothing_scales(x_C, w_C, 0.5)
    assert isinstance(found, np.ndarray)
    made = Smoothing("norm", ("linear",), x_C, w_C, found)
    divided = x.float() / torch.from_numpy(found)
    assert made.largest == float(divided.abs().max())
    assert made.largest_C.tolist() == divided.abs().amax(0).tolist()
