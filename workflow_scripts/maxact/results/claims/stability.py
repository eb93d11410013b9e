"""The claim that M of random subsets of the samples is near M."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.results.claims.claim import Claim, Reading, of_all, unknown
from maxact.results.claims.material import TOLD, M_of, Material, told
from maxact.results.claims.paper import PAPER
from maxact.results.deviation import deviation
from maxact.results.frames import typed
from maxact.results.samples import strata
from maxact.results.sureness import resampled_maximum

ORDER = 2.0
"""What "of the same magnitude" allows: M by M of all samples up to this factor, in both directions."""

_COLUMNS = {
    **TOLD,
    "M": "float64",
    "samples": "Int64",
    "runs": "Int64",
    **dict.fromkeys(("smallest", "mean", "largest", "deviation", "range", "farthest"), "float64"),
    **{"same": "Int64", "above": "Int64"},
}


def stability(material: Material) -> Claim:
    """How far M of each subset is from M: of measurements of subsets where the study has them, else of resamples.

    A resample draws as many samples again from each domain, with replacement; its distribution is exact (`sureness.py`), and
    its 5 % quantile takes the place of the smallest run. deviation: standard deviation by mean; range: largest less
    smallest, by mean; farthest: the largest distance from M, by M; same, above: runs with M itself, and with more.
    """
    rows = _measured(material) or _resampled(material)
    tolerance = PAPER["stability"].numbers["percent"] / 100
    how = "subsets that were measured" if rows and rows[0]["runs"] is not None else "resamples of the stored samples"

    def within(choice: str, limit: float, column: str = "farthest") -> Reading:
        values = [row[column] for row in rows if row.get(column) is not None]
        if not values:
            return unknown(choice, "the study has neither subsets nor the maxima of samples")
        inside, of = sum(value <= limit for value in values), len({row["checkpoint"] for row in rows})
        text = f"{inside} of {len(values)} sets of {of} checkpoint{'s' if of > 1 else ''}; at most {max(values):.1%}"
        return Reading(choice, of_all(inside, len(values)), text)

    return Claim(
        "stability",
        within(f"each of the {how}", tolerance),
        typed(rows, _COLUMNS),
        (
            within("the mean of a set", tolerance, "mean_off"),
            within("half of the stated distance", tolerance / 2),
            _within_factor(rows),
            _reached(rows),
            _without_largest(material, tolerance),
        ),
    )


def _measured(material: Material) -> list[dict[str, Any]]:
    rows = []
    for member in material.real:
        for samples, part in member.subsets.groupby("size") if len(member.subsets) else ():
            rows.append(
                {**told(member), "samples": samples, **_of_runs(part.M.to_numpy(np.float64), M_of(member) or 0.0)}
            )
    return rows


def _of_runs(values_N: np.ndarray, M: float) -> dict[str, Any]:
    mean = float(values_N.mean())
    spread = {"smallest": float(values_N.min()), "mean": mean, "largest": float(values_N.max())}
    if len(values_N) > 1 and mean:
        spread |= {"deviation": deviation(values_N) / mean, "range": float(np.ptp(values_N)) / mean}
    if M:
        spread |= {"farthest": float(np.abs(values_N - M).max()) / M, "mean_off": abs(mean - M) / M}
    return {**spread, "runs": len(values_N), "same": int((values_N == M).sum()), "above": int((values_N > M).sum())}


def _resampled(material: Material) -> list[dict[str, Any]]:
    rows = []
    for member in material.real:
        domains = (
            {name: values.to_numpy(np.float64) for name, values in strata(member.samples).items()}
            if len(member.samples)
            else {}
        )
        M = M_of(member)
        if domains and M:
            found = resampled_maximum(domains)
            row = {
                **told(member),
                "samples": len(member.samples),
                "runs": None,
                "smallest": found.low,
                "mean": found.mean,
            }
            row |= {"largest": found.high, "deviation": found.std / found.mean if found.mean else None}
            rows.append(row | {"farthest": 1 - found.low / M, "mean_off": abs(found.mean - M) / M})
    return rows


def _within_factor(rows: Sequence[dict[str, Any]]) -> Reading:
    """By ratio: M of a subset by M, and M by it."""
    choice = f"within a factor of {ORDER:g}"
    known = [row for row in rows if row["M"]]
    if not known:
        return unknown(choice, "the study has neither subsets nor the maxima of samples")
    factors = [
        max(row["largest"] / row["M"], row["M"] / row["smallest"] if row["smallest"] else math.inf) for row in known
    ]
    inside = sum(factor <= ORDER for factor in factors)
    text = f"{inside} of {len(factors)} sets; at most a factor of {max(factors):.3g}"
    return Reading(choice, of_all(inside, len(factors)), text)


def _reached(rows: Sequence[dict[str, Any]]) -> Reading:
    """Not how near, but whether the number itself comes again."""
    choice = "M itself is reached"
    runs = [row for row in rows if row["runs"] is not None]
    if not runs:
        return unknown(choice, "no subset was measured")
    total, same, above = (sum(row[name] for row in runs) for name in ("runs", "same", "above"))
    text = f"in {same} of {total} subsets, and exceeded in {above}"
    return Reading(choice, of_all(same, total), text)


def _without_largest(material: Material, tolerance: float) -> Reading:
    """M without the one sample that has it."""
    choice = "without the sample that has M"
    falls: list[float] = []
    for member in material.real:
        maxima = member.samples.abs_max.dropna().nlargest(2) if len(member.samples) else pd.Series(dtype=float)
        if len(maxima) == 2 and maxima.iloc[0]:
            falls.append(1 - float(maxima.iloc[1]) / float(maxima.iloc[0]))
    if not falls:
        return unknown(choice, "the maxima of samples are not known")
    inside = sum(fall <= tolerance for fall in falls)
    return Reading(
        choice, of_all(inside, len(falls)), f"{inside} of {len(falls)} checkpoints; M falls by at most {max(falls):.1%}"
    )
