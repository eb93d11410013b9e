"""Does the quantization error follow M? The link between the two over the real checkpoints of a study.

A checkpoint's error is the one at the residual site with the largest |x|; where errors of one other site alone are known, as
of some published results, the one at that site (`member.error_site`), as in `int8_vs_m`. M, errors and steps are decimal
logarithms throughout: a slope is then a power law, and no unit counts.

Checkpoints of one family share data, recipe and often weights, so their number says little about chance. The p-value is
therefore of families: each is one point, the mean of its checkpoints in either coordinate, and what is exchanged is which
error goes with which M. Links within a family do not enter it. Means of few checkpoints scatter more than those of many,
which the exchange takes for alike; and two families of a study may be related, which it does not know.

Formats, granularities and policies are many tests of one question, so the verdict is of p adjusted for their number (`holm`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from maxact.results.correlation import FAMILIES, FamilyTest, family_test, holm, partial, pearson, spearman
from maxact.results.frames import typed
from maxact.results.member import Member, error_site, every_error

CHECKPOINTS = 8
"""Fewer have no verdict."""

LEVEL = Fraction(1, 20)
"""A link is said to be seen where the adjusted p is at most this."""

_KEY = ["format", "granularity", "policy"]
_LOGS = ["M", "relative_rmse", "rmse", "scale"]
_STEP = ["step_and_M", "step_and_rmse", "M_and_rmse", "M_and_rmse_given_step"]
_COLUMNS = {
    **dict.fromkeys(_KEY, "str"),
    **dict.fromkeys(("checkpoints", "left_out", "families"), "Int64"),
    **dict.fromkeys(("spearman", "pearson", "family_spearman", "p", "p_holm"), "float64"),
    **{
        "tests": "Int64",
        "permutations": "str",
        "with_step": "Int64",
        **dict.fromkeys(_STEP, "float64"),
        "verdict": "str",
    },
}


def error_link(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each format, granularity and policy, in the order of their names, whatever that of the members.

    checkpoints, families: those with an M and a relative RMSE that are finite and above zero; the other real ones are
    `left_out`, planted ones are not counted. An infinite error is left out like one that is missing.
    spearman, pearson: correlation of M with the relative RMSE over checkpoints.
    family_spearman, p, permutations: `family_test`. p_holm: p adjusted for the number of rows that have enough checkpoints and
    a p, which is `tests`.
    with_step: checkpoints that also have an RMSE and a step (`scale`) finite and above zero. Over them, Pearson
    correlations with the RMSE in the tensor's own unit, as the step is: `step_and_M`, `step_and_rmse`, `M_and_rmse`, and
    the last with the step held fixed (`partial`). Where that is near 0 and `M_and_rmse` is not, M goes with the error by
    way of the step alone.
    verdict: `verdict`.
    """
    real = [member for member in members if member.kind == "real"]
    keys = {key for member in members for key in every_error(member)[_KEY].itertuples(index=False, name=None)}
    points = _points(real)
    rows: list[dict[str, Any]] = []
    found: list[FamilyTest] = []
    for key in sorted(keys):
        usable = points[(points[_KEY] == list(key)).all(axis=1) & points[["M", "relative_rmse"]].notna().all(axis=1)]
        link, test = _link(usable)
        rows.append({**dict(zip(_KEY, key, strict=True)), "left_out": len(real) - len(usable), **link})
        found.append(test)
    counted = [at for at, test in enumerate(found) if test.p is not None and rows[at]["checkpoints"] >= CHECKPOINTS]
    adjusted = dict(zip(counted, adjust([found[at] for at in counted]), strict=True))
    for at, (row, test) in enumerate(zip(rows, found, strict=True)):
        p, least = adjusted.get(at, (None, None))
        row |= {"tests": len(counted), "p_holm": _float(p)}
        row["verdict"] = verdict(row["checkpoints"], row["families"], test.correlation, p, least)
    return typed(rows, _COLUMNS)


def adjust(tests: Sequence[FamilyTest]) -> list[tuple[Fraction, Fraction]]:
    """Of each test p adjusted for their number, and what it would be at least, the others being what they are."""
    p = [test.p for test in tests if test.p is not None]
    least = [test.least for test in tests if test.least is not None]
    return [(found, holm([*p[:at], least[at], *p[at + 1 :]])[at]) for at, found in enumerate(holm(p))]


def _float(p: Fraction | None) -> float:
    return math.nan if p is None else float(p)


def _points(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, format, granularity and policy, with the logarithms, NaN where there is none."""
    rows = []
    for member in members:
        M, errors = member.headline["M"], every_error(member)
        for error in errors[errors.site == error_site(member)[1]].to_dict("records"):
            values = {**error, "M": M and M["value"]}
            row = {"checkpoint": member.name, "family": member.family, **{name: error[name] for name in _KEY}}
            rows.append({**row, **{name: _log10(values[name]) for name in _LOGS}})
    points = pd.DataFrame(rows, columns=["checkpoint", "family", *_KEY, *_LOGS])
    if points.duplicated(["checkpoint", *_KEY]).any():  # it would count twice
        raise ValueError("a checkpoint has two errors of one format, granularity and policy")
    return points


def _log10(value: float | None) -> float:
    return math.log10(value) if value is not None and math.isfinite(value) and value > 0 else math.nan


def _link(usable: pd.DataFrame) -> tuple[dict[str, Any], FamilyTest]:
    """What a row says of the checkpoints that are usable, and the test of their families."""
    M_N, error_N = (usable[name].to_numpy(np.float64) for name in ("M", "relative_rmse"))
    # Rounded, as the mean of equal numbers can differ from them in the last bit, which would untie families.
    means = [
        [round(math.fsum(part[name]) / len(part), 12) for name in ("M", "relative_rmse")]
        for _, part in usable.groupby("family")
    ]
    test = family_test(*np.reshape(np.array(means, np.float64), (-1, 2)).T)
    both = usable[usable[["rmse", "scale"]].notna().all(axis=1)]
    M_S, rmse_S, step_S = (both[name].to_numpy(np.float64) for name in ("M", "rmse", "scale"))
    step = [pearson(M_S, step_S), pearson(rmse_S, step_S), pearson(M_S, rmse_S), partial(M_S, rmse_S, step_S)]
    row = {
        **{"checkpoints": len(usable), "families": len(means)},
        **{"spearman": spearman(M_N, error_N), "pearson": pearson(M_N, error_N)},
        **{"family_spearman": test.correlation, "p": _float(test.p), "permutations": test.permutations},
        **{"with_step": len(both), **dict(zip(_STEP, step, strict=True))},
    }
    return row, test


def verdict(checkpoints: int, families: int, correlation: float, p: Fraction | None, least: Fraction | None) -> str:
    """Whether the error rises or falls with M, by the sign of the family correlation where its adjusted p is at most `LEVEL`.

    "No link seen" is no proof of none. It is said only where a link could have been seen.
    """
    if checkpoints < CHECKPOINTS:
        return f"cannot be told: {checkpoints} of {CHECKPOINTS} checkpoints"
    if families < FAMILIES:
        return f"cannot be told: {families} of {FAMILIES} families"
    if p is None or least is None:
        return "cannot be told: M or the error is the same in all families"
    if least > LEVEL:
        return f"cannot be told: with these {families} families p holm is {float(least):.2g} or more"
    if p > LEVEL:
        return "no link seen"
    return "rises with M" if correlation > 0 else "falls with M"
