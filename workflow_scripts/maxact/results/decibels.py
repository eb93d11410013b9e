"""Arithmetic with SQNR in dB where some reconstructions are exact and some are lost."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd


def exact_as_infinite(errors: pd.DataFrame) -> pd.Series:
    """The SQNR, infinite where all of a reconstruction is exact; NaN without finite values or without power."""
    return errors.sqnr_db.where(~((errors.rmse == 0) & (errors.relative_rmse == 0)), math.inf)


def median(values: Iterable[float]) -> float:
    """Of an even number the mean of the two in the middle, minus infinity where one of them is; NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return low if low == -math.inf else (low + high) / 2


def difference(one: float, other: float) -> float:
    """Their difference, also of two that are infinite."""
    return 0.0 if one == other else one - other
