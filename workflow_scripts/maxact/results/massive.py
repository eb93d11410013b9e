"""The massive-activation test beside M: how many tokens pass it, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks, peak_residual, site_name
from maxact.sites.components import COMPONENTS

AT = ("residual", "any")
"""Where the test is counted: at the residual site of the largest |x|, and at the site of M where most tokens pass."""

_COLUMNS = {
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "M": "float64",
    **{
        f"{at}_{name}": kind
        for at in AT
        for name, kind in (("site", "str"), ("tokens", "Int64"), ("passed", "Int64"), ("share", "float64"))
    },
    "largest_ratio": "float64",
    "nonfinite": "Int64",
}


def massive_coverage(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint: M, and the tokens that pass the massive-activation test.

    A token passes at a site if its largest |x| is above 100 and above 1,000 times its own median |x|. `residual_*` is at
    the residual site with the largest |x|; `any_*` at the site, of those that M ranges over, where the largest share of
    tokens passes (the first of equal ones): counts of sites are not joined, as a token may pass at several. `largest_ratio`
    is the largest |x| by median of any token at these sites, infinite where a median is zero.
    """
    return typed([_row(member) for member in in_order(members)], _COLUMNS)


def _row(member: Member) -> dict[str, Any]:
    M = member.headline["M"]
    row: dict[str, Any] = {**marks(member), "M": None if M is None else M["value"]}
    in_M = member.sites.component.isin([name for name, component in COMPONENTS.items() if component.in_M])
    known = member.sites.massive_tokens.fillna(0).gt(0) & member.sites.massive_tokens_passed.notna()
    sites = member.sites[in_M & known].sort_values("site")
    if sites.empty:
        return row
    share = (sites.massive_tokens_passed.astype(float) / sites.massive_tokens.astype(float)).tolist()
    places = {"any": sites.iloc[share.index(max(share))]}
    at_peak = sites[sites.site == peak_residual(member)]
    if len(at_peak):
        places["residual"] = at_peak.iloc[0]
    for at, site in places.items():
        tokens, passed = int(site.massive_tokens), int(site.massive_tokens_passed)
        row |= {f"{at}_site": site_name(site.component, site.layer), f"{at}_tokens": tokens}
        row |= {f"{at}_passed": passed, f"{at}_share": passed / tokens}
    ratios = sites.massive_max_ratio.dropna()
    return row | {"largest_ratio": float(ratios.max()) if len(ratios) else None}
