"""What the tables along the layers share: depth, the residual stream by layer, and frames with fixed types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.results.member import MARKS, Member

MARK_TYPES = dict(zip(MARKS, ("str", "str", "str", "Int64"), strict=True))
"""Types of the columns that say what a checkpoint is."""


def typed(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A frame with these columns, in this order and of these types, however many rows there are."""
    return pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))


def with_family(frame: pd.DataFrame, members: Sequence[Member]) -> pd.DataFrame:
    """For figures: the frame with the family of each checkpoint, missing where it was not measured."""
    return frame.assign(family=frame["checkpoint"].map({member.name: member.family for member in members}))


def relative_depth(component: str, layer: int | None, layers: int) -> float:
    """How deep in a model a site is: the embedding 0, layer l (from 0) of n (l + 1) / n, the final norm 1."""
    if layer is None:
        return 0.0 if component == "embedding" else 1.0
    return (layer + 1) / layers


def why_missing(member: Member, components: Collection[str]) -> str:
    """Why a checkpoint has no error, or no site, of a kind of tensor, and what to do where something can be done."""
    sites = member.sites[member.sites.component.isin(components)]
    if sites.empty:
        return "not in the published files" if member.published else "not measured; add it to measure.components"
    if (sites.status == "measured").any():
        return "float32: the stored histogram is of rounded values, of which no error is computed"
    return "not there: " + "; ".join(sites.reason.dropna().unique())


def residual_peaks(member: Member) -> dict[int, float]:
    """The largest |x| of the residual stream by layer, in order of the layers; those with no finite value left out."""
    sites = member.sites
    found = sites[(sites.component == "residual") & (sites.status == "measured") & sites.peak.notna()]
    pairs = zip(found.layer.astype(int).tolist(), found.peak.astype(float).tolist(), strict=True)
    return dict(sorted(pairs))


def largest_of(member: Member, component: str) -> float | None:
    """The largest |x| over all sites of a component; None where no value is finite or the component is not measured."""
    peak = member.sites.peak[member.sites.component == component].max()
    return None if pd.isna(peak) else float(peak)
