"""What follows exactly from counts of 16-bit patterns: values, quantiles, moments.

A histogram is a pair of arrays, `codes` (uint16, ascending, bit patterns of one 16-bit dtype) and `counts` (int64),
of finite values only. Sums are `math.fsum` over count x value: each product is exact in float64 for counts below 2^45
(2^37 for squares), and the sum is rounded once, so the result does not depend on the order in which counts were
gathered.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

INFINITY_KEY = {"bfloat16": 0x7F80, "float16": 0x7C00, "float32": 0x7F800000}
"""Bit pattern of +infinity: a value is finite if its pattern without the sign is below."""

MAGNITUDE_MASK = {"bfloat16": 0x7FFF, "float16": 0x7FFF, "float32": 0x7FFFFFFF}
"""All bits but the sign."""


@functools.cache
def code_values(dtype: str) -> Values:
    """The value of each of the 65,536 bit patterns of `dtype` ("bfloat16" or "float16"), float64 [65536]; read-only."""
    codes = np.arange(65536, dtype=np.uint16)
    if dtype == "float16":
        values = codes.view(np.float16).astype(np.float64)
    elif dtype == "bfloat16":
        # bfloat16 is the upper half of float32.
        with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
            values = (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    else:
        raise ValueError(f"{dtype} has no 16-bit patterns")
    values.flags.writeable = False
    return values


@functools.cache
def finite_codes(dtype: str) -> npt.NDArray[np.bool_]:
    """Which bit patterns of `dtype` are finite, bool [65536]; read-only."""
    finite = np.isfinite(code_values(dtype))
    finite.flags.writeable = False
    return finite


@dataclass(frozen=True)
class Moments:
    """Of the finite values; NaN where there is none. `std` is that of the population."""

    mean: float
    std: float
    abs_mean: float
    rms: float


def moments(codes: Codes, counts: Counts, dtype: str) -> Moments:
    """Mean, population standard deviation, mean of |x| and root mean square."""
    total = int(counts.sum())
    if total == 0:
        return Moments(math.nan, math.nan, math.nan, math.nan)
    values, weights = code_values(dtype)[codes], counts.astype(np.float64)
    mean = math.fsum(weights * values) / total
    return Moments(
        mean=mean,
        std=math.sqrt(math.fsum(weights * (values - mean) ** 2) / total),
        abs_mean=math.fsum(weights * np.abs(values)) / total,
        rms=math.sqrt(math.fsum(weights * values**2) / total),
    )


def fold_sign(codes: Codes, counts: Counts) -> tuple[Codes, Counts]:
    """The histogram of |x|: codes without the sign bit, ascending, and their counts."""
    folded = np.zeros(32768, dtype=np.int64)
    np.add.at(folded, codes & 0x7FFF, counts)
    magnitudes = np.flatnonzero(folded)
    return magnitudes.astype(np.uint16), folded[magnitudes]


def abs_quantiles(codes: Codes, counts: Counts, dtype: str, probabilities: list[str]) -> list[float]:
    """For each q: the smallest |x| whose cumulative share is at least q; NaN where there is no value.

    Args:
        probabilities: decimal strings such as "0.999", taken exactly: the rank is ceil(q x N) in integers.
    """
    magnitudes, folded = fold_sign(codes, counts)
    if not len(magnitudes):
        return [math.nan] * len(probabilities)
    cumulative = np.cumsum(folded)
    ranks = [max(1, math.ceil(Fraction(q) * int(cumulative[-1]))) for q in probabilities]
    return [float(code_values(dtype)[magnitudes[np.searchsorted(cumulative, rank)]]) for rank in ranks]


def abs_quantile(codes: Codes, counts: Counts, dtype: str, probability: str) -> float:
    """One quantile of |x|, as `abs_quantiles` defines it."""
    return abs_quantiles(codes, counts, dtype, [probability])[0]


def abs_max(codes: Codes, dtype: str) -> float:
    """The largest |x|; NaN where there is no value."""
    return float(code_values(dtype)[(codes & 0x7FFF).max()]) if len(codes) else math.nan
