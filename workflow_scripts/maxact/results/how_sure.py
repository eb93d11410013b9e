"""M seen from its samples: how sure it is, and what it is in each part of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks
from maxact.results.samples import GROUPS, strata
from maxact.results.sureness import (
    Floats,
    further_within,
    maximum_without,
    resampled_maximum,
    stratified_expected_maximum,
)

SHOWN_LANGUAGES = 10
"""Of each checkpoint: those with the largest maxima."""

PROBABILITY = 0.05
"""Of a new maximum, for which the number of further samples is told."""

_SURE = ["samples", "left_out", "M", "second", "expected_tenth", "expected_half"]
_RESAMPLED = ["resampled_mean", "resampled_std", "resampled_5", "resampled_95", "resampled_same"]


def _by_domain(member: Member) -> dict[str, Floats]:
    return {name: values.to_numpy(np.float64) for name, values in strata(member.samples).items()}


def how_sure(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint: M among its samples, and what fewer, other or more samples would give."""
    rows = []
    for member in in_order(members):
        domains = _by_domain(member)
        row: dict[str, Any] = {**marks(member), "samples": len(member.samples)}
        row |= {"left_out": int(member.samples.abs_max.isna().sum())}
        if domains:
            ordered = np.sort(np.concatenate(list(domains.values())))
            count, expected, again = len(ordered), stratified_expected_maximum(domains), resampled_maximum(domains)
            row |= {"M": float(ordered[-1]), "second": float(ordered[-2]) if count > 1 else None}
            row |= {"expected_tenth": expected[-(-count // 10) - 1], "expected_half": expected[-(-count // 2) - 1]}
            numbers = (again.mean, again.std, again.low, again.high, again.same)
            row |= dict(zip(_RESAMPLED, numbers, strict=True))
            row |= {"further": further_within(count, PROBABILITY)}
        rows.append(row)
    types = {**MARK_TYPES, "samples": "Int64", "left_out": "Int64"}
    types |= dict.fromkeys([*_SURE[2:], *_RESAMPLED], "float64") | {"further": "Int64"}
    return typed(rows, types)


def saturation(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: the expected maximum of every number of samples, and its share of M."""
    rows = []
    for member in in_order(members):
        domains = _by_domain(member)
        expected = stratified_expected_maximum(domains).tolist() if domains else []
        for count, value in enumerate(expected, 1):
            share = value / expected[-1] if expected[-1] else None
            rows.append({**marks(member), "family": member.family, "samples": count, "expected": value, "share": share})
    return typed(rows, {**MARK_TYPES, "family": "str", "samples": "Int64", "expected": "float64", "share": "float64"})


def without_domain(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and domain: the domain's own maximum, and M without it."""
    rows = []
    for member in in_order(members):
        domains = _by_domain(member)
        M = max((values.max() for values in domains.values()), default=None)
        for name, rest in maximum_without(domains).items():
            row: dict[str, Any] = {**marks(member), "domain": name, "samples": len(domains[name])}
            row |= {"largest": float(domains[name].max()), "M_without": rest}
            rows.append(row | {"falls_by": None if rest is None or not M else 1 - rest / M})
    types = {**MARK_TYPES, "domain": "str", "samples": "Int64"}
    return typed(rows, {**types, **dict.fromkeys(("largest", "M_without", "falls_by"), "float64")})


def groups(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and group of samples or tokens: how many, the largest |x|, and its share of M.

    Of languages, those with the largest maxima.
    """
    frame = all_groups(members)
    languages = frame[frame["by"] == "language"].sort_values("largest", ascending=False, kind="stable")
    shown = languages.groupby("checkpoint", sort=False).head(SHOWN_LANGUAGES).index
    return frame[(frame["by"] != "language") | frame.index.isin(shown)].reset_index(drop=True)


def all_groups(members: Sequence[Member]) -> pd.DataFrame:
    """As `groups`, with every language."""
    rows = []
    for member in in_order(members):
        M = member.samples.abs_max.max()
        found: list[dict[str, Any]] = []
        for group in GROUPS:
            for value, part in member.samples.groupby(group):
                here = {"by": group.removesuffix("_bucket"), "group": str(value), "samples": len(part)}
                found.append(here | {"tokens": int(part.tokens.sum()), "largest": part.abs_max.max()})
        for kind in member.classes.to_dict("records"):
            here = {"by": "token class", "group": kind["token_class"], "tokens": kind["tokens"]}
            found.append(here | {"largest": kind["abs_max"]})
        rows += [{**marks(member), **row, "share": row["largest"] / M if M else None} for row in found]
    types = {**MARK_TYPES, "by": "str", "group": "str", "samples": "Int64", "tokens": "Int64"}
    return typed(rows, {**types, "largest": "float64", "share": "float64"})


def domain_maxima(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: the rows of `groups` that are domains."""
    frame = all_groups(members)
    return frame[frame["by"] == "domain"].reset_index(drop=True)
