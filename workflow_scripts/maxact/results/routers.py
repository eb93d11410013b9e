"""Routers and gates of mixtures of experts along the layers, with the gates of their dense siblings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.comparisons import Questions
from maxact.results.frames import MARK_TYPES, relative_depth, typed
from maxact.results.member import Member, in_order, marks

ROUTERS = ("router_logits", "router_output")
GATES = ("gate", "expert_gate")

_COLUMNS = {
    "mixture": "str",
    **MARK_TYPES,
    "dense": "bool",
    "component": "str",
    "layer": "Int64",
    "relative_depth": "float64",
    "peak": "float64",
    "holds": "str",
}


def routers_and_gates(members: Sequence[Member], questions: Questions) -> pd.DataFrame:
    """For figures: a row for each checkpoint with a router, component and layer, its siblings below it; peak is null where
    nothing is finite.

    `mixture` is the checkpoint with a router that the row goes with; `dense` marks the gates of the other members, without
    a router, of its groups under the question `moe_vs_dense`. `holds` is what a router's values are where published files
    have no scores: probabilities, or indices of experts.
    """
    rows: list[dict[str, Any]] = []
    routed = {member.name for member in members if not _measured(member, ROUTERS).empty}
    for member in in_order(members):
        if member.name not in routed:
            continue
        groups = [names for names in questions.get("moe_vs_dense", {}).values() if member.name in names]
        siblings = {name for names in groups for name in names} - routed
        rows += _rows(member, member.name, (*ROUTERS, *GATES), dense=False)
        for sibling in members:
            if sibling.name in siblings:
                rows += _rows(sibling, member.name, GATES, dense=True)
    return typed(rows, _COLUMNS)


def _measured(member: Member, components: Sequence[str]) -> pd.DataFrame:
    sites = member.sites
    return sites[sites.component.isin(components) & (sites.status == "measured") & sites.layer.notna()]


def _rows(member: Member, mixture: str, components: Sequence[str], dense: bool) -> list[dict[str, Any]]:
    named = {"mixture": mixture, **marks(member), "dense": dense}
    rows = []
    for site in _measured(member, components).itertuples():
        depth = relative_depth(site.component, int(site.layer), member.summary["layers"])
        peak = None if pd.isna(site.peak) else float(site.peak)
        row = {**named, "component": site.component, "layer": int(site.layer), "relative_depth": depth, "peak": peak}
        rows.append(row | {"holds": getattr(site, "holds", None)})
    return rows
