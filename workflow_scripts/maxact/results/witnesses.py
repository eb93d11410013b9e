"""Where the largest |x| of every component stands: sample, token, and the text around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks, site_name
from maxact.witness import Witnesses

_TYPES = {
    "component": "str",
    "site": "str",
    "value": "float64",
    "channel": "Int64",
    "expert": "Int64",
    "sample": "Int64",
    "position": "Int64",
    "token": "str",
    "text": "str",
    "domain": "str",
    "language": "str",
    "script": "str",
    "id": "str",
}


def component_witnesses(sites: pd.DataFrame, corpus: Witnesses) -> pd.DataFrame:
    """A row for each component with a finite value: its largest |x| with the sign, the first of equal ones."""
    rows = []
    for component, part in sites[sites.peak.notna()].groupby("component", sort=False):
        first = part[part.peak == part.peak.max()].sort_values("site").to_dict("records")[0]
        at = corpus.at(int(first["peak_sample"]), int(first["peak_position"]))
        row: dict[str, Any] = {"component": component, "site": site_name(component, first["layer"])}
        row |= {"value": first["peak_signed"], "channel": first["peak_channel"], "expert": first["peak_expert"]}
        row |= {name: getattr(at, name) for name in ("sample", "position", "token", "text")}
        rows.append(row | {name: getattr(at, name) for name in ("domain", "language", "script", "id")})
    return typed(rows, _TYPES)


def witnesses(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and component with a finite value."""
    rows = [{**marks(member), **row} for member in in_order(members) for row in member.witnesses.to_dict("records")]
    return typed(rows, {**MARK_TYPES, **_TYPES})
