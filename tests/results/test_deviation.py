"""The standard deviation is that of its definition, also where squares are beyond float64."""

from __future__ import annotations

import math
import statistics
import warnings
from fractions import Fraction

import numpy as np
import pytest

from maxact.results.deviation import deviation


@pytest.mark.parametrize("scale", [1.0, 3e-200, 7e152, 1e200, 1e300])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_that_of_fractions(seed: int, scale: float) -> None:
    values = [float(x) for x in np.random.default_rng(seed).normal(size=seed + 2) * scale]
    # Fractions of a scale that float64 can hold the squares of.
    expected = statistics.stdev([Fraction(value) / Fraction(scale) for value in values]) * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert deviation(values) == pytest.approx(expected, rel=1e-12)


def test_ordinary_numbers_have_the_bits_of_numpy() -> None:
    for seed in range(50):
        x_N = np.random.default_rng(seed).lognormal(0, 3, 40)
        assert deviation(x_N) == x_N.std(ddof=1)


def test_what_has_none() -> None:
    assert [deviation([1.0, math.nan, 3.0]), deviation([2.0, 2.0])] == [math.sqrt(2), 0.0]
    assert all(math.isnan(deviation(values)) for values in ([], [1.0], [1.0, math.nan], [math.inf, 1.0]))
    assert deviation([1.7e308, -1.7e308]) == math.inf
    assert deviation([5e-324, 0.0]) == 5e-324
