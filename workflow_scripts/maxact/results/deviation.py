"""The standard deviation of numbers of any size."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def deviation(values: Iterable[float]) -> float:
    """Of a sample (n - 1); NaN values do not count.

    The squares of large or small numbers are beyond float64, so all are divided by one power of two, which rounds nothing.

    Returns:
        NaN of fewer than two numbers, or where one is infinite; infinite where it is itself beyond float64.
    """
    x_N = np.fromiter(values, np.float64)
    x_N = x_N[~np.isnan(x_N)]
    if len(x_N) < 2 or not np.isfinite(x_N).all():
        return math.nan
    exponent = math.frexp(float(np.abs(x_N).max()))[1]
    scaled = float(np.ldexp(x_N, -exponent).std(ddof=1))
    try:
        return math.ldexp(scaled, exponent)
    except OverflowError:
        return math.inf
