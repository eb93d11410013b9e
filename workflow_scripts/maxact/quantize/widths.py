"""How many bits a tensor needs: the narrowest symmetric integers whose SQNR reaches a target.

The SQNR does not have to rise with every bit: of 3 and 1, the levels of 3 bits meet both and those of 4 bits do not. The
answer is therefore the fewest bits such that they and all wider ones, up to 16, reach the target. Widths are tried from 16
downwards until the lowest target is missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from maxact.histogram import Codes, Counts
from maxact.quantize.errors import Distribution, Error, error
from maxact.quantize.formats import FORMATS
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer

WIDTHS = tuple(range(2, 17))
"""Bits of the integers that are tried."""

POLICIES = ("max", "mse")
"""Clipping policies that are tried: what a plain quantizer does, and the best that a threshold can do."""


def bits_needed(
    calibration: tuple[Codes, Counts], evaluation: tuple[Codes, Counts], dtype: str, targets: Sequence[float]
) -> list[dict[str, Any]]:
    """A row for each policy and target (dB): bits, None where 16 do not reach it, and the SQNR that they reach.

    Thresholds are from the calibration split, the SQNR is of the evaluation split: infinite where reconstruction is exact.
    Where no width reaches the target, `sqnr_db` is that of 16 bits: NaN where it is not defined, as there is no finite value
    on a split, or nothing but zeros.
    """
    tensor, rows = Distribution.of(*evaluation, dtype), []
    for policy in POLICIES:
        reached: dict[int, float] = {}
        for bits in reversed(WIDTHS):
            format = FORMATS[f"int{bits}"]
            threshold = threshold_of(policy, *calibration, dtype, format)
            reached[bits] = decibels(error(tensor, quantizer(format, threshold)))
            if not reached[bits] >= min(targets, default=math.inf):
                break
        for target in targets:
            enough = fewest(reached, target)
            told = reached[WIDTHS[-1] if enough is None else enough]
            rows.append({"policy": policy, "target_db": target, "bits": enough, "sqnr_db": told})
    return rows


def fewest(reached: dict[int, float], target: float) -> int | None:
    """The fewest bits such that they and all wider ones reach the target; None where the widest do not.

    Args:
        reached: SQNR by bits, from the widest down without a gap.
    """
    found = None
    for bits in reversed(WIDTHS):
        if not reached.get(bits, math.nan) >= target:
            return found
        found = bits
    return found


def decibels(found: Error) -> float:
    """The SQNR, infinite where a tensor that is not all zeros is reconstructed exactly."""
    return math.inf if found.rmse == 0 and found.relative_rmse == 0 else found.sqnr_db
