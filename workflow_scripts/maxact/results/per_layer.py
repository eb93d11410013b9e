"""The residual streams of the members of each group, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.comparisons import Questions
from maxact.results.frames import MARK_TYPES, relative_depth, residual_peaks, typed
from maxact.results.member import Member, in_order, marks
from maxact.results.verdicts import NO_GROUP

_CURVES = {
    "question": "str",
    "group": "str",
    **MARK_TYPES,
    "family": "str",
    "compared_with": "str",
    "layer": "Int64",
    "relative_depth": "float64",
    "peak": "float64",
    "peak_of_other": "float64",
    "layer_of_other": "Int64",
    "ratio": "float64",
}
_COLUMNS = {
    "question": "str",
    "group": "str",
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "compared_with": "str",
    "layers": "Int64",
    "layers_of_other": "Int64",
    "largest_ratio": "float64",
    "largest_at_layer": "Int64",
    "largest_at_depth": "float64",
    "smallest_ratio": "float64",
    "smallest_at_layer": "Int64",
    "smallest_at_depth": "float64",
    "nonfinite": "Int64",
    "note": "str",
}
_TOP = {
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "layer": "Int64",
    **dict.fromkeys(["relative_depth", "top1", "top2", "top3", "median", "top1_over_median"], "float64"),
    "nonfinite": "Int64",
}
TOO_FEW = "cannot be compared: fewer than two members with a residual stream"


def residual_by_depth(members: Sequence[Member], questions: Questions) -> pd.DataFrame:
    """For figures: a row for each group, member and layer whose residual stream has a finite |x|.

    `ratio` is the largest |x| of the residual stream at that layer by that of `compared_with`, the group's first member
    with a residual stream, at `layer_of_other`, its layer of nearest relative depth (the shallower of two as near; the
    same layer where both have as many). It is missing where the other's |x| is zero.
    """
    measured = {member.name: member for member in members}
    rows: list[dict[str, Any]] = []
    for question, groups in questions.items():
        for group, names in groups.items():
            found = [measured[name] for name in names if name in measured and residual_peaks(measured[name])]
            for member in found:
                named = {"question": question, "group": group, **marks(member), "family": member.family}
                named |= {"compared_with": found[0].name}
                rows += [named | row for row in _against(member, found[0])]
    return typed(rows, _CURVES)


def _against(member: Member, other: Member) -> list[dict[str, Any]]:
    peaks, others = residual_peaks(member), residual_peaks(other)
    layers, layers_of_other = member.summary["layers"], other.summary["layers"]
    rows = []
    for layer, peak in peaks.items():
        # In whole numbers, so that two layers that are as near are not told apart by rounding.
        gaps = {there: abs((layer + 1) * layers_of_other - (there + 1) * layers) for there in others}
        nearest = min(others, key=lambda there: (gaps[there], there))
        row: dict[str, Any] = {
            "layer": layer,
            "relative_depth": relative_depth("residual", layer, layers),
            "peak": peak,
        }
        row |= {"layer_of_other": nearest, "peak_of_other": others[nearest]}
        row["ratio"] = peak / others[nearest] if others[nearest] else None
        rows.append(row)
    return rows


def per_layer_comparison(members: Sequence[Member], questions: Questions) -> pd.DataFrame:
    """Where each member of a group differs most from the first: the largest and smallest `ratio` of `residual_by_depth`.

    Among equal ratios the first layer counts. A question without groups, and a group with fewer than two members that have
    a residual stream, have one row that says so in `note`.
    """
    layers = {member.name: member.summary["layers"] for member in members}
    curves = residual_by_depth(members, questions)
    rows: list[dict[str, Any]] = []
    for question, groups in questions.items():
        if not groups:
            rows.append({"question": question, "note": NO_GROUP})
        for group in groups:
            part = curves[(curves.question == question) & (curves.group == group)]
            parts = [part[part.checkpoint == name] for name in part.checkpoint.unique()]
            named = {"question": question, "group": group}
            if len(parts) < 2:
                rows.append({**named, "note": TOO_FEW})
            for one in parts[1:]:
                first, other = one.iloc[0], one.compared_with.iloc[0]
                row = {**named, **{name: first[name] for name in MARK_TYPES}, "compared_with": other}
                row |= {"layers": layers[first.checkpoint], "layers_of_other": layers[other]}
                rows.append(row | _extremes(one[one.ratio.notna()].sort_values("layer")))
    return typed(rows, _COLUMNS)


def _extremes(known: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for word, ratio in (("largest", known.ratio.max()), ("smallest", known.ratio.min())) if len(known) else ():
        extreme = known[known.ratio == ratio].iloc[0]
        row |= {f"{word}_ratio": ratio, f"{word}_at_layer": extreme.layer, f"{word}_at_depth": extreme.relative_depth}
    return row


def top_and_median_by_layer(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and layer: the three largest |x| of the residual stream and its median |x|.

    The three are of elements, so that they may be of one token. The median is the smallest |x| with CDF >= 0.5 over all
    tokens and channels. `top1_over_median` is missing where the median is zero. A checkpoint whose residual stream was not
    measured has a row without layer.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        sites = member.sites[(member.sites.component == "residual") & (member.sites.status == "measured")]
        rows += [] if len(sites) else [marks(member)]
        for site in sites.sort_values("site").to_dict("records"):
            ranked = member.top[(member.top.site == site["site"]) & (member.top["rank"] < 3)].sort_values("rank")
            largest = dict(zip(("top1", "top2", "top3"), ranked.value.abs().astype(float), strict=False))
            median = site["abs_median"]
            row = {**marks(member), "layer": int(site["layer"]), **largest, "median": median}
            row |= {"relative_depth": relative_depth("residual", int(site["layer"]), member.summary["layers"])}
            if "top1" in largest and not pd.isna(median) and median > 0:
                row |= {"top1_over_median": largest["top1"] / median}
            rows.append(row)
    return typed(rows, _TOP)


def top_and_median(members: Sequence[Member]) -> pd.DataFrame:
    """`top_and_median_by_layer` at the layer of each checkpoint with the largest |x|, the first of equal ones.

    A checkpoint whose residual stream has no finite value keeps a row without numbers.
    """
    frame = top_and_median_by_layer(members)
    rows: list[dict[Any, Any]] = []
    for member in in_order(members):
        part = frame[(frame.checkpoint == member.name) & frame.top1.notna()].sort_values("layer")
        best = part[part.top1 == part.top1.max()]
        rows.append(best.iloc[0].to_dict() if len(best) else marks(member))
    return typed(rows, _TOP)
