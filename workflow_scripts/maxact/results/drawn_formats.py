"""What the figures of number formats draw: errors along the layers, and curves of error against threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.quantize.tensors import TENSORS
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks, site_name

CURVE, POLICY = "curve", "policy"
"""Kinds of rows of `clipping_curves`."""

_BY_SITE = {**MARK_TYPES, "tensors": "str", "format": "str", "layer": "Int64", "layers": "Int64", "sqnr_db": "float64"}
_CURVES = {
    **MARK_TYPES,
    **dict.fromkeys(("reason", "site", "format", "kind_of_row", "policy"), "str"),
    **dict.fromkeys(("share", "sqnr_db"), "float64"),
}


def error_by_site(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, kind of tensor, format and layer: the SQNR (dB) of its best static policy.

    Of several sites of the kind in a layer it is the lowest. Infinite where reconstruction is exact, minus infinity where an
    element became infinite; NaN where it is not defined. A checkpoint without sites of a kind has one row of it, without format.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        layers = int(member.summary["layers"])
        for tensors, components in TENSORS.items():
            row = {**marks(member), "tensors": tensors, "layers": layers}
            errors = member.errors[member.errors.component.isin(components)]
            exact = (errors.rmse == 0) & (errors.relative_rmse == 0)
            known = errors.assign(sqnr_db=errors.sqnr_db.where(~exact, math.inf))
            best = known.groupby(["site", "layer", "format"], sort=False).sqnr_db.max()
            worst = best.groupby(["format", "layer"], sort=False).agg(lambda values: values.min(skipna=True))
            if worst.empty:
                rows.append(row)
            for (format, layer), value in worst.items():
                rows.append(row | {"format": format, "layer": int(layer), "sqnr_db": value})
    return typed(rows, _BY_SITE)


def clipping_curves(members: Sequence[Member]) -> pd.DataFrame:
    """The stored curves of each checkpoint, and the thresholds that the policies choose at the same sites and formats.

    `share` is the threshold by the largest |x| of the evaluation split there: the smallest on the curve that clips nothing.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        if member.curves.empty:
            rows.append({**marks(member)})
        for (site, format, reason), part in member.curves.groupby(["site", "format", "reason"], sort=False):
            largest = part.threshold[part.clip_rate == 0].min()
            first = part.iloc[0]
            row = {**marks(member), "reason": reason, "site": site_name(first.component, first.layer), "format": format}
            for point in part.to_dict("records"):
                rows.append(
                    row | {"kind_of_row": CURVE, "share": point["threshold"] / largest, "sqnr_db": point["sqnr_db"]}
                )
            errors = member.errors
            for chosen in errors[(errors.site == site) & (errors["format"] == format)].to_dict("records"):
                told = {"kind_of_row": POLICY, "policy": chosen["policy"], "share": chosen["threshold"] / largest}
                rows.append(row | told | {"sqnr_db": chosen["sqnr_db"]})
    return typed(rows, _CURVES)
