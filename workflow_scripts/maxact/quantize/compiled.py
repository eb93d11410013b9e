"""The compiled loops of quantization: one element quantized and dequantized, and sums over many.

All of it is in float32, as in the libraries that do it on devices: x / scale, rounded, clamped, times scale. Rounding to
a floating-point grid is exact.

They are in one file because numba compiles a cached function again only when the file changes that it stands in.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

UNCHANGED, INTEGER, SHIFTED, FLOATING, CAST, ZERO = range(6)


class Rule(NamedTuple):
    """What the compiled functions need to know of a quantizer, as plain numbers.

    Attributes:
        kind: UNCHANGED, INTEGER, SHIFTED (with a zero point), FLOATING (scaled, saturates), CAST (no scale, overflows) or ZERO.
        scale: float32.
        lowest, highest: of the rounded element, the zero point included.
        zero_point: 0 for all but asymmetric integers.
        mantissa, smallest_exponent: of a floating-point element.
    """

    kind: int
    scale: np.float32
    lowest: np.float32
    highest: np.float32
    zero_point: np.float32
    mantissa: int
    smallest_exponent: int


@numba.njit(nogil=True, cache=True, inline="always")
def to_grid(y, mantissa, smallest_exponent):  # type: ignore[no-untyped-def]
    """|y| rounded to the grid, ties to even, with no largest value; y is a float32, so that all of it is exact."""
    magnitude = abs(y)
    exponent = max((np.float64(magnitude).view(np.int64) >> 52) - 1023, smallest_exponent)
    quantum = np.int64((exponent - mantissa + 1023) << 52).view(np.float64)
    return np.rint(magnitude / quantum) * quantum


@numba.njit(nogil=True, cache=True, inline="always", error_model="numpy")
def reconstruct_one(x, rule):  # type: ignore[no-untyped-def]
    """One finite element, quantized and dequantized."""
    if rule.kind == INTEGER:
        return min(max(np.rint(x / rule.scale), rule.lowest), rule.highest) * rule.scale
    if rule.kind == SHIFTED:
        rounded = np.rint(x / rule.scale) + rule.zero_point
        return (min(max(rounded, rule.lowest), rule.highest) - rule.zero_point) * rule.scale
    if rule.kind == FLOATING:
        y = min(max(x / rule.scale, rule.lowest), rule.highest)
        rounded = np.float32(to_grid(np.float64(y), rule.mantissa, rule.smallest_exponent))
        return np.float32(np.copysign(min(rounded, rule.highest), y)) * rule.scale
    if rule.kind == CAST:
        rounded = np.float32(to_grid(np.float64(x), rule.mantissa, rule.smallest_exponent))
        return np.float32(np.copysign(rounded if rounded <= rule.highest else np.float32(np.inf), x))
    return x if rule.kind == UNCHANGED else np.float32(0) * x


@numba.njit(nogil=True, cache=True, error_model="numpy")
def reconstruct_all(x, rule, out):  # type: ignore[no-untyped-def]
    for index in range(len(x)):
        out[index] = reconstruct_one(x[index], rule)


@numba.njit(nogil=True, cache=True, inline="always")
def _add(total, lost, term):  # type: ignore[no-untyped-def]
    """One step of Neumaier's sum: the new total, and what rounding has lost so far."""
    new = total + term
    if not np.isfinite(new):
        return new, 0.0
    if abs(total) >= abs(term):
        return new, lost + ((total - new) + term)
    return new, lost + ((term - new) + total)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def sums(values, counts, rule, low, high):  # type: ignore[no-untyped-def]
    """Sums of |error|, error^2, |x| and x^2, and how many elements are clipped."""
    error, error_lost, square, square_lost = 0.0, 0.0, 0.0, 0.0
    mean, mean_lost, power, power_lost = 0.0, 0.0, 0.0, 0.0
    clipped = 0
    for index in range(len(values)):
        x, weight = values[index], float(counts[index])
        exact = np.float64(x)
        difference = abs(np.float64(reconstruct_one(x, rule)) - exact)
        error, error_lost = _add(error, error_lost, weight * difference)
        square, square_lost = _add(square, square_lost, weight * (difference * difference))
        mean, mean_lost = _add(mean, mean_lost, weight * abs(exact))
        power, power_lost = _add(power, power_lost, weight * (exact * exact))
        if exact < low or exact > high or np.isinf(difference):
            clipped += counts[index]
    return error + error_lost, square + square_lost, mean + mean_lost, power + power_lost, clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")
def noise(values, weights, rule):  # type: ignore[no-untyped-def]
    """The sum of squared errors; uncompensated, for the search of a threshold."""
    total = 0.0
    for index in range(len(values)):
        difference = np.float64(reconstruct_one(values[index], rule)) - np.float64(values[index])
        total += weights[index] * (difference * difference)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _of_level(in_bin, clipped, total):  # type: ignore[no-untyped-def]
    """What the bins of one level add to the divergence; clipped elements are added to the last."""
    found, q = 0.0, in_bin.sum() / len(in_bin) / total
    for index in range(len(in_bin)):
        p = (in_bin[index] + (clipped if index == len(in_bin) - 1 else 0.0)) / total
        found += p * np.log(p / q)
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def divergence(values, counts, threshold, width, rule):  # type: ignore[no-untyped-def]
    """Sum of p log(p / q) over bins of |x| (`policies.py`); values, ascending and above 0, of which the threshold is one."""
    inside = np.searchsorted(values, threshold, side="right")
    total = float(counts.sum())
    clipped = total - float(counts[:inside].sum())
    in_bin, filled = np.zeros(inside), 0  # of one level
    divergence, bin_before, level_before = 0.0, -1.0, np.float32(-1)
    for index in range(inside):
        bin_here = np.floor(np.float64(values[index]) / width)
        if bin_here != bin_before:
            level = reconstruct_one(np.float32((bin_here + 0.5) * width), rule)
            if level != level_before:
                divergence += _of_level(in_bin[:filled], 0.0, total)
                filled = 0
            in_bin[filled] = 0.0
            filled += 1
            bin_before, level_before = bin_here, level
        in_bin[filled - 1] += counts[index]
    return divergence + _of_level(in_bin[:filled], clipped, total)
