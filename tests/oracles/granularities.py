"""Errors of scales that channels, tokens, groups and blocks share, by plain loops over elements.

The arithmetic of an element is that of float32 scalars; the nearest element of a format is found among all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from maxact.quantize.formats import Floats, Format
from maxact.quantize.ways import Way

F = np.float32
Values = npt.NDArray[np.float32]


def errors(x_RC: Values, way: Way, channel_C: Values) -> tuple[float, float, int]:
    """Sums of |error| and error^2 over the finite elements of x, and how many its scales cannot hold.

    The sums are NaN where an element that is not 0 has no scale.

    Args:
        channel_C: the largest |x| of each channel on the calibration split; 0 where there is none.
    """
    absolute, squared, clipped = [], [], 0
    for row in [x_RC.reshape(-1)] if way.granularity == "sample" else x_RC:
        for x, made, beyond in _row(row, way, channel_C):
            absolute.append(abs(made - x))
            squared.append((made - x) ** 2)
            clipped += beyond
    return _sum(absolute), _sum(squared), clipped


def _sum(values: Sequence[float]) -> float:
    if any(math.isnan(value) for value in values):
        return math.nan
    return math.inf if math.inf in values else math.fsum(values)


def _row(row: Values, way: Way, channel_C: Values) -> Iterator[tuple[float, float, bool]]:
    """Each finite element, what becomes of it, and whether it is clipped."""
    format = way.format
    size = {"channel": 1, "token": len(row), "sample": len(row)}.get(way.granularity) or way.group
    assert size is not None
    for start in range(0, len(row), size):
        finite = [F(x) for x in row[start : start + size] if np.isfinite(x)]
        if not finite:
            continue
        if way.granularity == "channel":
            threshold = channel_C[start]
            scale = F(threshold / F(format.elements.largest)) if threshold else None
        elif way.policy != "max":
            threshold = _clipping(finite, format, way.policy)
            scale = F(threshold / F(format.elements.largest))
        else:
            threshold, scale = None, _scale(finite, format, channel_C)
        for x in finite:
            made = (math.nan if x else 0.0) if scale is None else _made(x, scale, format, finite)
            beyond = threshold is not None and (threshold > 0 or way.policy != "max") and abs(x) > threshold
            if format.block is not None and scale is not None:
                beyond = abs(float(x)) > format.elements.largest * float(scale)
            yield float(x), made, bool(beyond)


def _clipping(finite: Sequence[Any], format: Format, policy: str) -> Any:
    """The threshold of a policy for the elements that share it."""
    ordered = sorted(abs(x) for x in finite)
    if policy != "mse":
        share = Fraction(policy.removeprefix("quantile_"))
        return next(x for rank, x in enumerate(ordered, start=1) if Fraction(rank, len(ordered)) >= share)
    best, least = ordered[-1], math.inf
    for step in range(20):
        tried = F(ordered[-1] * F((20 - step) / 20))
        scale = F(tried / F(format.elements.largest))
        lost = math.fsum((_made(x, scale, format, finite) - float(x)) ** 2 for x in finite)
        if lost < least:
            best, least = tried, lost
    return best


def _scale(finite: Sequence[Any], format: Format, channel_C: Values) -> Any:
    """None where there is none."""
    largest = max(abs(x) for x in finite)
    if format.asymmetric:
        low, high = min(0.0, *map(float, finite)), max(0.0, *map(float, finite))
        with np.errstate(over="ignore"):
            span = F(high) - F(low)
        levels = (1 << format.bits) - 1
        return F((high - low) / levels) if np.isinf(span) else span / F(levels)
    if format.scaling == "free":
        return F(largest / F(format.elements.largest))
    if format.scaling == "power_of_two":
        return F(2.0 ** _exponent(float(largest), format)) if largest else F(1)
    whole = channel_C.max(initial=F(0))
    if whole == 0:
        return None
    with np.errstate(over="ignore"):
        g = min(F(2688) / whole, np.finfo(F).max)
        wanted = min(F(g * F(largest / F(6))), F(448))
    return F(F(nearest(float(wanted), Floats(8, 3, -6, 448.0))) / g)


def _exponent(largest: float, format: Format) -> int:
    """By exact comparisons with powers of two."""
    elements = format.elements
    assert isinstance(elements, Floats)
    floor = math.frexp(largest)[1] - 1
    power = floor - elements.largest_exponent
    if format.rounding == "ceil":
        power += largest != 2.0**floor
    elif format.rounding == "even":
        unit = 2.0 ** (floor - elements.mantissa)
        power = math.frexp(math.floor(largest / unit + 0.5) * unit)[1] - 1 - elements.largest_exponent
    elif format.rounding == "rceil":
        ratio = float(F(largest) / F(elements.largest))
        power = next(e for e in range(-200, 200) if 2.0**e >= ratio)
    return min(max(power, -127), 127)


def _made(x: Any, scale: Any, format: Format, group: Sequence[Any]) -> float:
    if scale == 0:
        return 0.0
    elements = format.elements
    with np.errstate(over="ignore"):
        if isinstance(elements, Floats):
            y = min(float(F(abs(x) / scale)), elements.largest)
            return math.copysign(float(F(F(nearest(y, elements)) * scale)), x)
        if elements.symmetric:
            y = min(max(float(F(x / scale)), -elements.largest), elements.largest)
            return float(F(F(round(y)) * scale))
    low = min(0.0, *map(float, group))
    zero = min(max(round(float(F(elements.lowest) - F(F(low) / scale))), elements.lowest), elements.highest)
    q = min(max(round(float(F(x / scale))) + zero, elements.lowest), elements.highest)
    return float(F(F(q - zero) * scale))


def nearest(y: float, elements: Floats) -> float:
    """Of all elements that are not negative the one nearest to y, of two that whose fraction is even."""
    steps = 2**elements.mantissa
    levels = [i / steps * 2.0**elements.smallest_exponent for i in range(steps)]
    exponents = range(elements.smallest_exponent, elements.largest_exponent + 1)
    levels += [(1 + i / steps) * 2.0**e for e in exponents for i in range(steps)]
    levels = [level for level in levels if level <= elements.largest]
    index = min(range(len(levels)), key=lambda at: (abs(y - levels[at]), at % 2))
    return levels[index]
