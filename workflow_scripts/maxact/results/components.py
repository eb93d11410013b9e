"""The largest |x| of every component of every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.absent import NOT_IN_DATA
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks
from maxact.sites.legend import LEGEND


def component_maxima(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: a row for each checkpoint and component that one was measured at, with the largest |x|.

    `status` is measured, `no finite value`, `not applicable` (the architecture has none), `not measured` (the study did
    not ask for it), or `not in the data` (published results have none of it, or lack its extremes). `holds` and `contradicted`
    are those of the site of the largest |x| (`published/tables.py`).
    """
    rows = []
    asked = [name for name in LEGEND if any(name in set(member.sites.component) for member in members)]
    for member in in_order(members):
        for component in asked:
            sites = member.sites[member.sites.component == component]
            peak = sites.peak.max()
            status = "measured" if not pd.isna(peak) else "no finite value"
            if not (sites.status == "measured").any():
                status = "not measured" if sites.empty else "not applicable"
                status = NOT_IN_DATA if member.published else status
            row = {**marks(member), "component": component, "peak": peak, "status": status}
            rows.append(row | _of_published(sites, peak))
    types = {"component": "str", "peak": "float64", "status": "str", "holds": "str", "contradicted": "bool"}
    return typed(rows, {**MARK_TYPES, **types})


def _of_published(sites: pd.DataFrame, peak: float) -> dict[str, Any]:
    """What the largest value of a router is if it is no score, and whether the files contradict it."""
    there = sites[sites.peak == peak]
    if "holds" not in there or there.empty:
        return {"holds": None, "contradicted": False}
    return {"holds": there.holds.iloc[0], "contradicted": bool(there.contradicted.any())}


def components(members: Sequence[Member]) -> pd.DataFrame:
    """`component_maxima` as a matrix: a row for each checkpoint, a column for each component that was measured at one."""
    found = component_maxima(members)
    rows = [
        {**marks(member), **dict(zip(part.component, part.peak, strict=True))}
        for member in in_order(members)
        for part in [found[found.checkpoint == member.name]]
    ]
    first = {name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")}
    return typed(rows, {**first, **dict.fromkeys(found.component.unique(), "float64"), "nonfinite": "Int64"})
