"""The tables along the layers and of comparisons, in plain loops over lists: slow, and written apart from the library."""

from __future__ import annotations

import math
from fractions import Fraction


def finite(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def jump(stream: list[float | None]) -> tuple[float, int] | None:
    """The largest ratio of a value to the one before it, and its layer.

    Args:
        stream: largest |x| of the embedding, then of each layer; None where there is none.
    """
    best = None
    for at in range(1, len(stream)):
        before, here = stream[at - 1], stream[at]
        if before is None or here is None or before == 0:
            continue
        if best is None or here / before > best[0]:
            best = (here / before, at - 1)
    return best


def half(peaks: list[float | None]) -> int | None:
    """The first layer that reaches half of the largest of all."""
    top = None
    for peak in peaks:
        if peak is not None and (top is None or peak > top):
            top = peak
    for layer, peak in enumerate(peaks):
        if peak is not None and top is not None and 2 * peak >= top:
            return layer
    return None


def ratios(peaks: list[float], others: list[float]) -> list[tuple[int, float | None]]:
    """For each layer: the other's layer of nearest relative depth, and the ratio to its value there."""
    found = []
    for layer, peak in enumerate(peaks):
        depth = Fraction(layer + 1, len(peaks))
        nearest = 0
        for there in range(len(others)):
            gap = abs(Fraction(there + 1, len(others)) - depth)
            if gap < abs(Fraction(nearest + 1, len(others)) - depth):
                nearest = there
        found.append((nearest, peak / others[nearest] if others[nearest] else None))
    return found


def shape(values: list[float]) -> str:
    """Of a list of M in order: rises, falls, same, or neither."""
    up = down = False
    for at in range(1, len(values)):
        up = up or values[at] > values[at - 1]
        down = down or values[at] < values[at - 1]
    return "neither" if up and down else "rises" if up else "falls" if down else "same"
