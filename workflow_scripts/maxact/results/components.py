"""The largest |x| of every component of every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks
from maxact.sites.legend import LEGEND


def component_maxima(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: a row for each checkpoint and component that one was measured at, with the largest |x|.

    `status` is measured, `no finite value`, `not applicable` (the architecture has none), `not measured` (the study did
    not ask for it), or `not in files` (published results have none of it, or lack its extremes).
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
                status = "not in files" if member.published else status
            rows.append({**marks(member), "component": component, "peak": peak, "status": status})
    return typed(rows, {**MARK_TYPES, "component": "str", "peak": "float64", "status": "str"})


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
