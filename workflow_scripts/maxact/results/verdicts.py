"""What a comparison says, in words made from the numbers alone: other numbers give other words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

ORDERED = ("scaling", "training_stages", "generations")
"""Questions whose groups have an order: the verdict is about the steps from each member to the next."""

AGAINST_FIRST = ("moe_vs_dense", "base_vs_instruct", "vision_vs_text")
"""Questions about what differs from the first member of a group. In all others no member stands apart."""

NO_GROUP = "no group in this study"


def verdict(question: str, members: Sequence[tuple[str, float | None]]) -> str:
    """One clause on M over the members of a group.

    Args:
        question: decides what is compared: each step, every member with the first, or the largest with the smallest.
        members: name and M in the order of the group; M is None (or NaN) where there is none.
    """
    known = [(name, M) for name, M in members if M is not None and not math.isnan(M)]
    left_out = [name for name, M in members if M is None or math.isnan(M)]
    without = f" (without {', '.join(left_out)})" if left_out else ""
    if len(known) < 2:
        return f"cannot be compared: {len(known)} of {len(members)} members with a finite M{without}"
    if question in AGAINST_FIRST and known[0][0] != members[0][0]:
        return f"cannot be compared: no finite M of {members[0][0]}, with which the others are compared"
    if question in ORDERED:
        return _steps(known) + without
    if question in AGAINST_FIRST:
        return _against_first(known) + without
    return _extremes(known) + without


def _steps(known: Sequence[tuple[str, float]]) -> str:
    steps = len(known) - 1
    rises = sum(later > earlier for (_, earlier), (_, later) in pairwise(known))
    falls = sum(later < earlier for (_, earlier), (_, later) in pairwise(known))
    if rises == falls == 0:
        return "M is the same in all"
    if rises and falls:
        shape = f"not monotone: M rises at {rises} and falls at {falls} of {steps} steps"
    elif rises:
        shape = "M rises at each step" if rises == steps else f"M never falls, and rises at {rises} of {steps} steps"
    else:
        shape = "M falls at each step" if falls == steps else f"M never rises, and falls at {falls} of {steps} steps"
    return f"{shape}; {_pair(known[-1], known[0])}"


def _against_first(known: Sequence[tuple[str, float]]) -> str:
    return "; ".join(_pair(other, known[0]) for other in known[1:])


def _extremes(known: Sequence[tuple[str, float]]) -> str:
    largest = max(known, key=lambda item: item[1])
    smallest = min(known, key=lambda item: item[1])
    if largest[1] == smallest[1]:
        return "M is the same in all"
    return f"largest in {largest[0]}, smallest in {smallest[0]}; {_pair(largest, smallest)}"


def _pair(one: tuple[str, float], other: tuple[str, float]) -> str:
    if one[1] == other[1]:
        return f"M of {one[0]} is that of {other[0]}"
    if other[1] == 0:
        return f"M of {one[0]} is {one[1]:,.6g}, that of {other[0]} 0"
    return f"M of {one[0]} is {times(one[1] / other[1])} that of {other[0]}"


def times(ratio: float) -> str:
    """A ratio as people read it: `12.3 x`, `0.004 x`, `1,234 x`."""
    return f"{ratio:,.0f} x" if ratio >= 1000 else f"{ratio:.3g} x" if abs(ratio - 1) > 0.01 else f"{ratio:.4g} x"
