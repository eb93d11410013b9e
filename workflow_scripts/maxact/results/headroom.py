"""What number formats without a scale can hold, for each kind of tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.quantize.tensors import TENSORS
from maxact.results.frames import MARK_TYPES, typed, why_missing
from maxact.results.member import Member, in_order, marks, site_name
from maxact.results.tables import LIMITS
from maxact.sites.components import COMPONENTS

KINDS = {"components of M": tuple(name for name, kind in COMPONENTS.items() if kind.in_M), **TENSORS}

_COLUMNS = {
    **MARK_TYPES,
    "tensors": "str",
    "sites": "Int64",
    "largest": "float64",
    "site": "str",
    **{
        name: dtype
        for limit in LIMITS
        for name, dtype in (
            (f"share_of_{limit}", "float64"),
            (f"over_{limit}", "Int64"),
            (f"first_over_{limit}", "str"),
        )
    },
    "note": "str",
}


def headroom(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and kind of tensor.

    largest, site: the largest finite |x| and where it is, the first of equal ones. share_of_<format>: it by the largest value of
    the format. over_<format>: at how many sites an |x| is above that, or infinite already; first_over_<format>: the first of
    them in forward order.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        for tensors, components in KINDS.items():
            sites = member.sites[member.sites.component.isin(components) & (member.sites.status == "measured")]
            row = {**marks(member), "tensors": tensors, "sites": len(sites)}
            if sites.empty:
                rows.append(row | {"note": why_missing(member, components)})
                continue
            rows.append(
                row | _largest(sites) | {key: value for limit in LIMITS for key, value in _over(sites, limit).items()}
            )
    return typed(rows, _COLUMNS)


def _largest(sites: pd.DataFrame) -> dict[str, Any]:
    peak = sites.peak.max()
    if pd.isna(peak):
        return {"note": "no finite value"}
    first = sites[sites.peak == peak].sort_values("site").iloc[0]
    shares = {f"share_of_{name}": peak / limit for name, limit in LIMITS.items()}
    return {"largest": peak, "site": site_name(first.component, first.layer), **shares}


def _over(sites: pd.DataFrame, limit: str) -> dict[str, Any]:
    infinite = sites[["positive_infinity", "negative_infinity"]].fillna(0).sum(axis=1) > 0
    over = sites[(sites.peak > LIMITS[limit]).fillna(False).astype(bool) | infinite.astype(bool)].sort_values("site")
    first = None if over.empty else site_name(over.component.iloc[0], over.layer.iloc[0])
    return {f"over_{limit}": len(over), f"first_over_{limit}": first}
