"""Correlation of points that come in families: of plain numbers, of ranks, with a third held fixed, and its p-value.

Results are the same to the last bit in any order of the points.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FAMILIES = 4
"""Fewer have no p-value."""

EXACT = 40_320
"""Up to so many permutations, those of eight families, all are taken."""

DRAWN = 99_999
SEED = 2605

LINE = 1e-12
"""Where 1 - r^2 is below it, what x and y do not share is rounding."""


def pearson(x_N: Floats, y_N: Floats) -> float:
    """Correlation; NaN of fewer than three points, as two are always on a line, or where x or y has one value only.

    Sums are exactly rounded, so that no order of the points changes a bit.
    """
    if len(x_N) < 3 or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return math.nan
    x_N, y_N = x_N - math.fsum(x_N) / len(x_N), y_N - math.fsum(y_N) / len(y_N)
    r = math.fsum(x_N * y_N) / math.sqrt(math.fsum(x_N**2) * math.fsum(y_N**2))
    return max(-1.0, min(1.0, r))


def spearman(x_N: Floats, y_N: Floats) -> float:
    """`pearson` of the ranks, those of equal values averaged."""
    return pearson(_ranks(x_N).astype(np.float64), _ranks(y_N).astype(np.float64))


def _ranks(x_N: Floats) -> Integers:
    """Twice the rank, less the mean of that: whole numbers even with ties, so that sums of products are exact."""
    ranks: Integers = (2 * pd.Series(x_N).rank()).to_numpy().astype(np.int64) - (len(x_N) + 1)
    return ranks


def partial(x_N: Floats, y_N: Floats, z_N: Floats) -> float:
    """Correlation of x and y with z held fixed: (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)).

    NaN of fewer than four points, or where x or y is a line in z: then nothing of it is left.
    """
    xy, xz, yz = pearson(x_N, y_N), pearson(x_N, z_N), pearson(y_N, z_N)
    if len(x_N) < 4 or not (1 - xz**2 > LINE and 1 - yz**2 > LINE):  # `not` for NaN
        return math.nan
    return max(-1.0, min(1.0, (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))))


@dataclass(frozen=True)
class FamilyTest:
    """Spearman correlation of family means, and how often exchange reaches it.

    Attributes:
        correlation: NaN of fewer than three families, or where either mean is the same in all.
        p: two-sided; None without a correlation or with fewer than `FAMILIES` families.
        least: the p that the strongest link of these ranks would have had; with ties or few families it is far from 0.
        permutations: how many were tried, in words.
    """

    correlation: float
    p: Fraction | None = None
    least: Fraction | None = None
    permutations: str | None = None


def family_test(x_F: Floats, y_F: Floats) -> FamilyTest:
    """Permutation test of the Spearman correlation of F points, one a family.

    p is the share of permutations of y whose |correlation| is at least the observed one: of all F! of them, identity
    among them, where these are at most `EXACT`; else (k + 1) / (n + 1), where k of n = `DRAWN` seeded ones reach it.
    """
    correlation = spearman(x_F, y_F)
    if len(x_F) < FAMILIES or math.isnan(correlation):
        return FamilyTest(correlation)
    a_F, b_F = _ranks(x_F), _ranks(y_F)
    order_F = np.lexsort((b_F, a_F))  # what is drawn then depends on the ranks alone, not on names
    a_F, b_F = a_F[order_F], b_F[order_F]
    order_PF, exact = _orders(len(a_F))
    reached_P = np.abs(b_F[order_PF] @ a_F)

    def share(at_least: int) -> Fraction:
        k, n = int((reached_P >= at_least).sum()), len(reached_P)
        return Fraction(k, n) if exact else Fraction(k + 1, n + 1)

    b_sorted_F = np.sort(b_F)
    strongest = max(abs(int(a_F @ b_sorted_F)), abs(int(a_F @ b_sorted_F[::-1])))  # the rearrangement inequality
    words = f"all {len(reached_P):,}" if exact else f"{DRAWN:,} drawn"
    return FamilyTest(correlation, share(abs(int(a_F @ b_F))), share(strongest), words)


def holm(p_M: Sequence[Fraction]) -> list[Fraction]:
    """p-values of M tests, adjusted for their number (Holm 1979): one of them is wrongly at most 0.05 in at most 1 of 20 studies.

    The j-th smallest, counted from 1, is multiplied by M - j + 1; none is then below one before it, or above 1. That holds
    whatever the tests have to do with each other.
    """
    adjusted = [Fraction(0)] * len(p_M)
    largest = Fraction(0)
    for place, number in enumerate(sorted(range(len(p_M)), key=lambda number: p_M[number])):
        largest = max(largest, min(Fraction(1), (len(p_M) - place) * p_M[number]))
        adjusted[number] = largest
    return adjusted


@functools.lru_cache(maxsize=4)  # most rows of a table have the same families
def _orders(count: int) -> tuple[Integers, bool]:
    """Permutations of `count` things, [P, count], and whether they are all that there are."""
    if math.factorial(count) <= EXACT:
        return np.array(list(itertools.permutations(range(count)))), True
    return np.random.default_rng(SEED).random((DRAWN, count)).argsort(axis=1), False
