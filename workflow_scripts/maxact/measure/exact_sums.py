"""Sums of float64 numbers that are exact, so that their order does not matter and shards can be added up.

A number m x 2^e is added to the bucket of its exponent, its 53-bit mantissa in two halves of at most 27 bits: a 64-bit
bucket holds more than 2^36 of them.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numba
import numpy as np
import numpy.typing as npt

BUCKETS = 640
"""Exponents from 0 to 639: of numbers from 0.5 to 2^639."""

_HALF = 27

Sums = npt.NDArray[np.int64]
"""[2, BUCKETS]: upper and lower halves of mantissas, by exponent."""


def nothing() -> Sums:
    """The sum of no numbers."""
    return np.zeros((2, BUCKETS), np.int64)


@numba.njit(nogil=True, cache=True)
def add(sums, value):  # type: ignore[no-untyped-def]  # numba infers
    """Add a finite number of at least 0.5."""
    fraction, exponent = math.frexp(value)
    mantissa = np.int64(fraction * 9007199254740992.0)
    sums[0, exponent] += mantissa >> _HALF
    sums[1, exponent] += mantissa & ((1 << _HALF) - 1)


def total(sums: Sums) -> Fraction:
    """The sum, exactly."""
    whole = sum(((int(sums[0, e]) << _HALF) + int(sums[1, e])) << e for e in np.flatnonzero(sums.any(axis=0)).tolist())
    return Fraction(whole, 1 << 53)
