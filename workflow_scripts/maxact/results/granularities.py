"""What sharing a scale among fewer elements buys, and what protecting a few elements would."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.quantize.formats import FORMATS
from maxact.quantize.tensors import TENSORS
from maxact.quantize.ways import bits_of_scale
from maxact.results.decibels import exact_as_infinite, median
from maxact.results.frames import MARK_TYPES, typed, why_missing
from maxact.results.member import Member, in_order, marks, site_name

_GRANULARITIES = {
    **MARK_TYPES,
    **dict.fromkeys(("tensors", "format", "granularity", "policy"), "str"),
    "bits_per_element": "float64",
    "sites": "Int64",
    **dict.fromkeys(("median_sqnr_db", "worst_sqnr_db"), "float64"),
    **dict.fromkeys(("worst_site", "note"), "str"),
}

_PROTECTION = {
    **MARK_TYPES,
    **dict.fromkeys(("tensors", "format", "protected"), "str"),
    "share": "float64",
    "sites": "Int64",
    **dict.fromkeys(("median_sqnr_db", "median_gain_db", "largest_gain_db"), "float64"),
    **dict.fromkeys(("largest_gain_site", "note"), "str"),
}

NO_VALUE = "no finite value"


def granularities(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each evaluated checkpoint, kind of tensor, format, granularity and policy.

    bits_per_element: with the share of scales, over all sites of the kind. Whole tensors are those of the stage `quantize`,
    where it has the format. A kind without errors has one row, whose note says why.
    """
    rows: list[dict[str, Any]] = []
    for member, tensors, errors in _kinds(members, "evaluated"):
        if errors.empty:
            rows.append(_without_errors(member, tensors))
            continue
        whole = member.errors[member.errors.site.isin(errors.site)]
        for format, shared in errors.groupby("format", sort=False):
            both = pd.concat([whole[whole["format"] == format].assign(granularity="tensor"), shared], ignore_index=True)
            for (granularity, policy), part in both.groupby(["granularity", "policy"], sort=False):
                named = {**marks(member), "tensors": tensors, "format": format}
                named |= {"granularity": granularity, "policy": policy}
                bits = bits_per_element(member, part, str(format), str(granularity))
                rows.append(named | {"bits_per_element": bits} | _summary(part))
    return typed(rows, _GRANULARITIES)


def one_policy(members: Sequence[Member]) -> pd.DataFrame:
    """Of each format and granularity the row of the policy max, or where a study has it not, of the best; and those of kinds
    without errors."""
    rows = granularities(members)
    known = rows.assign(first=rows.policy == "max", sqnr=rows.median_sqnr_db.fillna(-math.inf))
    best = known.sort_values(["first", "sqnr"], ascending=False, kind="stable")
    kept = best.drop_duplicates(["checkpoint", "tensors", "format", "granularity"]).index
    return rows.loc[kept.sort_values()].reset_index(drop=True)


def bits_per_element(member: Member, errors: pd.DataFrame, format: str, granularity: str) -> float:
    """Of a format with a granularity over these sites, the scales' share included; NaN where they have no element."""
    channels = member.sites.set_index("site").channels
    bits, elements = 0.0, 0
    for site, count in zip(errors.site, errors.elements, strict=True):
        width = channels[site]
        share = bits_of_scale(FORMATS[format], granularity, None if pd.isna(width) else int(width))
        bits, elements = bits + count * (FORMATS[format].bits + share), elements + count
    return bits / elements if elements else math.nan


def protection(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each evaluated checkpoint, kind of tensor, format of whole tensors and what is protected.

    share: of the elements. The gain at a site is its SQNR less that without protection, from the same split; a site where
    both are exact has none. A kind without errors has one row, as in `granularities`.
    """
    rows: list[dict[str, Any]] = []
    for member, tensors, errors in _kinds(members, "protection"):
        if errors.empty:
            rows.append(_without_errors(member, tensors))
            continue
        known = errors.assign(sqnr=exact_as_infinite(errors))
        for format, part in known.groupby("format", sort=False):
            bare = part[part.protected == "nothing"].set_index("site").sqnr
            for name, kept in part.groupby("protected", sort=False):
                named = {**marks(member), "tensors": tensors, "format": format, "protected": name}
                row = named | {"share": kept.share.mean()} | _summary(kept)
                rows.append(row | (_gain(kept, bare) if name != "nothing" else {}))
    return typed(rows, _PROTECTION)


def _gain(kept: pd.DataFrame, bare: pd.Series) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):  # infinite less infinite
        gains = kept.sqnr.to_numpy(np.float64) - kept.site.map(bare).to_numpy(np.float64)
    known = ~np.isnan(gains)
    if not known.any():
        return {}
    largest = kept.iloc[int(np.nanargmax(gains))]
    return {
        "median_gain_db": median(gains[known]),
        "largest_gain_db": float(gains[known].max()),
        "largest_gain_site": site_name(largest.component, largest.layer),
    }


def _kinds(members: Sequence[Member], table: str) -> Iterator[tuple[Member, str, pd.DataFrame]]:
    """The rows of a table of each evaluated checkpoint, by kind of tensor; of some kinds there are none."""
    for member in in_order(members):
        frame: pd.DataFrame = getattr(member, table)
        for tensors, components in TENSORS.items() if len(frame) else ():
            yield member, tensors, frame[frame.component.isin(components)]


def _without_errors(member: Member, tensors: str) -> dict[str, Any]:
    return {**marks(member), "tensors": tensors, "note": why_missing(member, TENSORS[tensors])}


def _summary(errors: pd.DataFrame) -> dict[str, Any]:
    """Over the sites of one kind; a site whose reconstruction is exact counts as infinite."""
    known = errors.assign(sqnr=exact_as_infinite(errors)).dropna(subset="sqnr")
    if known.empty:
        return {"note": NO_VALUE}
    worst = known.loc[known.sqnr.idxmin()]
    return {
        "sites": len(known),
        "median_sqnr_db": median(known.sqnr),
        "worst_sqnr_db": worst.sqnr,
        "worst_site": site_name(worst.component, worst.layer),
    }
