"""INT-8 error beside M."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, error_site, in_order, integer_errors, marks, site_name

_COLUMNS = {
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "M": "float64",
    "site": "str",
    "format": "str",
    "policy": "str",
    "relative_rmse": "float64",
    "sqnr_db": "float64",
    "nonfinite": "Int64",
}


def int8_vs_M(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and policy: M beside the error at the residual site with the largest |x| (`error_site`).

    Without a finite value there, or without an error, only what is known of it.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        M, peak = member.headline["M"], error_site(member)[1]
        row = {**marks(member), "M": None if M is None else M["value"]}
        if member.errors.empty:
            rows.append(row)
        for policy, errors in integer_errors(member).groupby("policy", sort=False):
            found: dict[str, Any] = {"policy": policy}
            for error in errors[errors.site == peak].to_dict("records") if peak is not None else []:
                found |= {key: error[key] for key in ("format", "relative_rmse", "sqnr_db")}
                found |= {"site": site_name(error["component"], error["layer"])}
            rows.append(row | found)
    return typed(rows, _COLUMNS)
