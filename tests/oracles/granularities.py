"""Errors of scales that channels, tokens, groups and blocks share, by plain loops over elements.

The arithmetic of an element is that of float32 scalars; the nearest element of a format is found among all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maxact.quantize.formats import E4M3, Floats, Format, Integers
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
        group = row[start : start + size]
        finite = [F(x) for x in group if np.isfinite(x)]
        if not finite:
            continue
        if way.granularity == "channel":
            threshold = channel_C[start]
            how = Chosen(F(threshold / F(format.elements.largest)) if threshold else None, threshold)
        elif way.policy != "max":
            how = _clipping(group, size, format, way.policy, channel_C)
        elif format.asymmetric:
            how = _for(max(abs(x) for x in finite), finite, format, channel_C)
        else:
            how = Chosen(_scale(finite, format, channel_C), None)
        for x in finite:
            made = (math.nan if x else 0.0) if how.scale is None else _made(x, how, format)
            yield float(x), made, _beyond(x, how, way)


class Chosen(NamedTuple):
    """A scale, None where there is none; what it is for, None where that clips nothing; the lower end of its range."""

    scale: Any
    threshold: Any
    low: float = 0.0


def _beyond(x: Any, how: Chosen, way: Way) -> bool:
    format, elements = way.format, way.format.elements
    if format.block is not None:
        return how.scale is not None and abs(float(x)) > elements.largest * float(how.scale)
    if how.threshold is None or (way.policy == "max" and (how.threshold == 0 or way.granularity != "channel")):
        return False
    if not format.asymmetric or how.scale == 0:
        return bool(abs(x) > how.threshold)
    assert isinstance(elements, Integers)
    ends = [
        (end - _zero(how, elements) + half) * float(how.scale)
        for end, half in ((elements.lowest, -0.5), (elements.highest, 0.5))
    ]
    return not ends[0] <= float(x) <= ends[1]


def _clipping(group: Values, size: int, format: Format, policy: str, channel_C: Values) -> Chosen:
    """The scale by a policy for the elements that share it."""
    finite = [F(x) for x in group if np.isfinite(x)]
    ordered = sorted(abs(x) for x in finite)
    if policy != "mse":
        share = Fraction(policy.removeprefix("quantile_"))
        threshold = next(x for rank, x in enumerate(ordered, start=1) if Fraction(rank, len(ordered)) >= share)
        return _for(threshold, finite, format, channel_C)
    best, least = None, math.inf
    for how in tried(ordered[-1], finite, format, channel_C):
        if how.scale is None:
            return how
        lost = _folded([(_made(x, how, format) - float(x)) ** 2 if np.isfinite(x) else 0.0 for x in group], size)
        if best is None or lost < least:
            best, least = how, lost
    assert best is not None
    return best


def _folded(terms: list[float], size: int) -> float:
    """Filled up with zeros, the second half is added to the first until one is left."""
    terms = terms + [0.0] * (size - len(terms))
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        terms = [x + y for x, y in zip(terms[:half], [*terms[half:], 0.0], strict=False)]
    return terms[0]


def tried(largest: Any, finite: Sequence[Any], format: Format, channel_C: Values) -> Iterator[Chosen]:
    """What least squares are sought among, the largest first."""
    if format.block is None:
        for step in range(20):
            yield _for(F(largest * F((20 - step) / 20)), finite, format, channel_C)
        return
    scales = every_scale(format, channel_C)
    if not scales or largest == 0:
        yield _for(largest, finite, format, channel_C)
        return
    if format.scaling == "power_of_two":
        assert isinstance(format.elements, Floats)
        floor = math.frexp(float(largest))[1] - 1 - format.elements.largest_exponent
        wanted = [2.0 ** min(max(floor + above, -127), 127) for above in (1, 0, -1)]
    else:
        with np.errstate(over="ignore"):
            g = min(F(2688) / channel_C.max(), np.finfo(F).max)
            here = _e4m3(min(float(F(g * F(largest / F(6)))), 448.0))
        first = min(max(here - 4, 1), 112)
        wanted = [scales[rank - 1] for rank in reversed(range(first, first + 15))]
    yield from (Chosen(F(scale), largest) for scale in wanted)


def every_scale(format: Format, channel_C: Values) -> list[Any]:
    """All scales above 0 that a block can have, ascending; none where the tensor has none."""
    if format.scaling == "power_of_two":
        return [F(2.0**exponent) for exponent in range(-127, 128)]
    if channel_C.max(initial=F(0)) == 0:
        return []
    with np.errstate(over="ignore"):
        g = min(F(2688) / channel_C.max(), np.finfo(F).max)
    return [F(F(number) / g) for number in levels(E4M3)[1:]]


def _e4m3(value: float) -> int:
    """How many e4m3 numbers from 0 on are below that which is nearest."""
    return levels(E4M3).index(nearest(value, E4M3))


def _for(threshold: Any, finite: Sequence[Any], format: Format, channel_C: Values) -> Chosen:
    """The scale for a threshold."""
    if not format.asymmetric:
        return Chosen(_scale([threshold], format, channel_C) if threshold or not format.block else F(0), threshold)
    low = max(min(0.0, *map(float, finite)), -float(threshold))
    high = min(max(0.0, *map(float, finite)), float(threshold))
    with np.errstate(over="ignore"):
        span = F(high) - F(low)
    levels = (1 << format.bits) - 1
    return Chosen(F((high - low) / levels) if np.isinf(span) else span / F(levels), max(-low, high), low)


def _scale(finite: Sequence[Any], format: Format, channel_C: Values) -> Any:
    """None where there is none."""
    largest = max(abs(x) for x in finite)
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
    return F(F(nearest(float(wanted), E4M3)) / g)


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


def _made(x: Any, how: Chosen, format: Format) -> float:
    if how.scale == 0:
        return 0.0
    elements, scale = format.elements, how.scale
    with np.errstate(over="ignore"):
        if isinstance(elements, Floats):
            y = min(float(F(abs(x) / scale)), elements.largest)
            return math.copysign(float(F(F(nearest(y, elements)) * scale)), x)
        if elements.symmetric:
            y = min(max(float(F(x / scale)), -elements.largest), elements.largest)
            return float(F(F(round(y)) * scale))
        zero, y = _zero(how, elements), float(F(x / scale))
    q = min(max((round(y) if math.isfinite(y) else y) + zero, elements.lowest), elements.highest)
    return float(F(F(q - zero) * scale))


def _zero(how: Chosen, elements: Integers) -> int:
    return min(max(round(float(F(elements.lowest) - F(F(how.low) / how.scale))), elements.lowest), elements.highest)


def nearest(y: float, elements: Floats) -> float:
    """Of all elements that are not negative the one nearest to y, of two that whose fraction is even."""
    known = levels(elements)
    return known[min(range(len(known)), key=lambda at: (abs(y - known[at]), at % 2))]


@functools.cache
def levels(elements: Floats) -> list[float]:
    """All that are not negative, ascending."""
    steps = 2**elements.mantissa
    found = [i / steps * 2.0**elements.smallest_exponent for i in range(steps)]
    exponents = range(elements.smallest_exponent, elements.largest_exponent + 1)
    found += [(1 + i / steps) * 2.0**e for e in exponents for i in range(steps)]
    return [level for level in found if level <= elements.largest]
