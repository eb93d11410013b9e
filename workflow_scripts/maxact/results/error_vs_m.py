"""The error of every format beside M, for the figure that `error_link` puts into words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from maxact.quantize.formats import FORMATS
from maxact.results.error_link import error_link
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, error_site, every_error, in_order, marks, site_name

KEY = ("format", "granularity", "policy")
_COLUMNS = {
    **MARK_TYPES,
    **dict.fromkeys((*KEY, "site"), "str"),
    **dict.fromkeys(("M", "relative_rmse", "spearman", "p_holm"), "float64"),
    "known": "bool",
    "verdict": "str",
}


def error_vs_M(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each real checkpoint and each format with a scale, granularity and policy: the points of `error_link`.

    The error is that at the same site as there, which `site` names. Error and site are null where M or the error is not finite
    or not above zero: the link leaves these out; `known` is false where there is none. Beside them are the link's Spearman
    correlation over checkpoints, the adjusted p-value of families and the verdict.
    """
    told = [row for row in error_link(members).to_dict("records") if FORMATS[row["format"]].scaling != "none"]
    rows = []
    for member in in_order(members):
        if member.kind != "real":
            continue
        M, errors = (member.headline["M"] or {}).get("value"), every_error(member)
        number = error_site(member)[1]
        at = errors[errors.site == number]
        known = {tuple(error[name] for name in KEY): error["relative_rmse"] for error in at.to_dict("records")}
        site = next(
            (site_name(row.component, row.layer) for row in member.sites[member.sites.site == number].itertuples()),
            None,
        )
        for link in told:
            error = known.get(tuple(link[name] for name in KEY))
            point = {"relative_rmse": error, "site": site} if _usable(M) and _usable(error) else {}
            point |= {"known": error is not None}
            named = {name: link[name] for name in (*KEY, "spearman", "p_holm", "verdict")}
            rows.append({**marks(member), **named, "M": M, **point})
    return typed(rows, _COLUMNS)


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
