"""Site by site: each statistic of two measurements beside the other, and whether it differs beyond a tolerance.

A site is a component at a layer, whatever its number in either measurement. Two numbers a and b are apart by
|a - b| / max(|a|, |b|), 0 where they are equal: the same whichever comes first, and at most 1 where neither is negative.
A value that is missing on one side is not compared, and that is told; a gate takes it for a difference (`Comparison.strict`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maxact.errors import UserError
from maxact.histogram import code_values
from maxact.measurement import QUANTILES
from maxact.study.mistakes import meant

TOLERANCES: dict[str, float] = {
    "peak": 0.05,
    "rms": 0.05,
    "mean": 0.05,
    "quantiles": 0.05,
    "massive": 0.05,
    "distribution": 0.02,
    "nonfinite": 0.0,
}
"""By statistic, how far apart two sides may be.

`peak`, `rms`, `mean` (of |x|), `quantiles` (of |x|, the median among them) and `massive` (the share of tokens that pass the
massive-activation test) are relative. One step of bfloat16 is up to 0.8 %. `distribution` is the Kolmogorov-Smirnov distance,
the largest difference of the two distribution functions of x, from the exact counts; of a normal distribution, 5 % in
scale makes 0.012. `nonfinite` is the relative difference of the shares of NaN and infinities.
"""

RELATIVE = ("peak", "rms", "mean", "quantiles", "massive")
"""Those that a tolerance without a name sets."""

_COLUMNS = {
    "peak": ("peak",),
    "rms": ("rms",),
    "mean": ("abs_mean",),
    "quantiles": ("abs_median", *(f"quantile_{q}" for q in QUANTILES)),
}
_CODES = 65_536


@dataclass(frozen=True)
class Compared:
    """One number of a site on both sides.

    Attributes:
        statistic: a key of `TOLERANCES`.
        what: which number: `rms`, `quantile_0.99`.
        a, b: the values; both missing for a distance.
        difference: how far they are apart; None where a value is missing.
        beyond: whether that is more than the tolerance.
        one_sided: whether one side has it and the other has not.
    """

    statistic: str
    what: str
    a: float | None
    b: float | None
    difference: float | None
    beyond: bool
    one_sided: bool


@dataclass(frozen=True)
class SitePair:
    """A site that both sides measured."""

    component: str
    layer: int | None
    numbers: tuple[int, int]
    places: tuple[str | None, str | None]
    statistics: tuple[Compared, ...]

    @property
    def differs(self) -> bool:
        return any(item.beyond for item in self.statistics)

    @property
    def one_sided(self) -> bool:
        """Whether one side lacks a statistic that the other has."""
        return any(item.one_sided for item in self.statistics)


def parse_tolerances(given: Sequence[str]) -> dict[str, float]:
    """Tolerances from arguments such as `0.1` (for the relative ones) or `peak=0.2`; the last one counts.

    Raises:
        UserError: no such statistic, or not a number from 0.
    """
    chosen = dict(TOLERANCES)
    for text in given:
        name, equals, number = text.rpartition("=")
        if equals and name not in TOLERANCES:
            hint = meant(name, TOLERANCES) or f"; they are {', '.join(TOLERANCES)}"
            raise UserError(f"--tolerance {text}: {name!r} is not compared{hint}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UserError(f"--tolerance {text}: give a number from 0, such as 0.05 or peak=0.1")
        chosen |= dict.fromkeys([name] if equals else RELATIVE, value)
    return chosen


def apart(a: float, b: float) -> float:
    """|a - b| / max(|a|, |b|); 0 where they are equal, infinite where one alone is."""
    if a == b:
        return 0.0
    return math.inf if math.isinf(a) or math.isinf(b) else abs(a - b) / max(abs(a), abs(b))


def keyed(sites: pd.DataFrame) -> dict[tuple[str, int | None], dict[Any, Any]]:
    """The rows of a table `sites` by component and layer."""
    return {
        (row["component"], None if pd.isna(row["layer"]) else int(row["layer"])): row
        for row in sites.to_dict("records")
    }


def compare_sites(
    a: pd.DataFrame,
    b: pd.DataFrame,
    counts: tuple[pd.DataFrame | None, pd.DataFrame | None],
    tolerances: Mapping[str, float],
) -> list[SitePair]:
    """Every site that both sides measured, in forward order of the first.

    Args:
        a, b: tables `sites`.
        counts: their tables `histograms`, where there are any.
    """
    mine, theirs = keyed(a), keyed(b)
    histograms = [None if table is None else _Histograms(table) for table in counts]
    pairs = []
    for site, row in mine.items():
        other = theirs.get(site)
        if row["status"] != "measured" or other is None or other["status"] != "measured":
            continue
        compared = [*_numbers(row, other, tolerances)]
        compared.append(_distance(row, other, histograms, tolerances["distribution"]))
        numbers = (int(row["site"]), int(other["site"]))
        pairs.append(SitePair(*site, numbers, (_place(row), _place(other)), tuple(compared)))
    return pairs


def _numbers(a: Mapping[Any, Any], b: Mapping[Any, Any], tolerances: Mapping[str, float]) -> list[Compared]:
    odd = ["nan", "positive_infinity", "negative_infinity"]
    found = [
        (statistic, column, _value(a[column]), _value(b[column]))
        for statistic, columns in _COLUMNS.items()
        for column in columns
    ]
    for what, parts, whole in (("massive", ["massive_tokens_passed"], "massive_tokens"), ("nonfinite", odd, "count")):
        found.append((what, what, _share(a, parts, whole), _share(b, parts, whole)))
    compared = []
    for statistic, what, mine, theirs in found:
        difference = None if mine is None or theirs is None else apart(mine, theirs)
        beyond = difference is not None and difference > tolerances[statistic]
        one_sided = (mine is None) != (theirs is None)
        compared.append(Compared(statistic, what, mine, theirs, difference, beyond, one_sided))
    return compared


def _value(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _share(row: Mapping[Any, Any], parts: list[str], whole: str) -> float | None:
    """The sum of counts by another count; None where one is missing, or there is nothing to share."""
    if any(pd.isna(row[name]) for name in (*parts, whole)) or row[whole] == 0:
        return None
    return float(sum(int(row[name]) for name in parts) / int(row[whole]))


def _place(row: Mapping[Any, Any]) -> str | None:
    """Where the peak is, as far as it is known."""
    names = ("sample", "position", "channel")
    known = [f"{name} {int(row[f'peak_{name}'])}" for name in names if not pd.isna(row[f"peak_{name}"])]
    return ", ".join(known) or None


class _Histograms:
    """Counts by code of every site, over all splits: one array of sites x 65,536."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.numbers = {int(number): row for row, number in enumerate(table["site"].unique())}
        rows = table["site"].map(self.numbers).to_numpy(np.int64)
        self.counts = np.zeros(len(self.numbers) * _CODES, dtype=np.int64)
        np.add.at(self.counts, rows * _CODES + table["code"].to_numpy(np.int64), table["count"].to_numpy(np.int64))

    def of(self, site: int, dtype: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None:
        """The values that occur at a site and their counts; None where it has none."""
        if site not in self.numbers:
            return None
        start = self.numbers[site] * _CODES
        counts = self.counts[start : start + _CODES]
        codes = np.flatnonzero(counts)
        return code_values("float16" if dtype == "float16" else "bfloat16")[codes], counts[codes]


def _distance(
    a: Mapping[Any, Any],
    b: Mapping[Any, Any],
    histograms: Sequence[_Histograms | None],
    tolerance: float,
) -> Compared:
    mine, theirs = histograms
    first = None if mine is None else mine.of(int(a["site"]), a["dtype"])
    second = None if theirs is None else theirs.of(int(b["site"]), b["dtype"])
    distance = None if first is None or second is None else kolmogorov_smirnov(*first, *second)
    beyond = distance is not None and distance > tolerance
    one_sided = (first is None) != (second is None)
    return Compared("distribution", "distribution", None, None, distance, beyond, one_sided)


def kolmogorov_smirnov(
    a: npt.NDArray[np.float64],
    counts_a: npt.NDArray[np.int64],
    b: npt.NDArray[np.float64],
    counts_b: npt.NDArray[np.int64],
) -> float:
    """The largest difference of two distribution functions, each of finite values with counts, in any order."""
    values, where = np.unique(np.concatenate([a, b]), return_inverse=True)
    shares = []
    for positions, counts in ((where[: len(a)], counts_a), (where[len(a) :], counts_b)):
        folded = np.zeros(len(values), dtype=np.int64)
        np.add.at(folded, positions, counts)
        cumulative = np.cumsum(folded)
        shares.append(cumulative / cumulative[-1])
    return float(np.abs(shares[0] - shares[1]).max())


def lacking(a: pd.DataFrame, b: pd.DataFrame) -> list[tuple[str, str]]:
    """The sites that the first side measured and the second has not, each with why."""
    theirs = keyed(b)
    told = []
    for (component, layer), row in keyed(a).items():
        if row["status"] != "measured":
            continue
        name = component if layer is None else f"{component}@{layer}"
        other = theirs.get((component, layer))
        if other is None:
            told.append((name, "not measured"))
        elif other["status"] != "measured":
            reason = "" if pd.isna(other["reason"]) else f" ({other['reason']})"
            told.append((name, f"{other['status']}{reason}"))
    return told
