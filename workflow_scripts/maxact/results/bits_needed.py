"""How many bits integers need for a given SQNR, for each kind of tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.quantize.tensors import TENSORS
from maxact.results.frames import MARK_TYPES, typed, why_missing
from maxact.results.member import Member, in_order, marks, site_name

_COLUMNS = {
    **MARK_TYPES,
    "tensors": "str",
    "policy": "str",
    "target_db": "float64",
    "sites": "Int64",
    "median_bits": "Int64",
    "most_bits": "Int64",
    "worst_site": "str",
    "beyond_16": "Int64",
    "note": "str",
}


def bits_needed(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, kind of tensor, policy and target.

    sites: those with an SQNR. median_bits: the fewest bits that serve at least half of them. most_bits: that serve all, with
    the site that needs them, the first of equal ones. beyond_16: sites that 16 bits do not serve; where they are half of the
    sites, or any, the number that they enter is missing, and `worst_site` is the one with the lowest SQNR in 16 bits.
    """
    rows: list[dict[str, Any]] = []
    wanted = any(len(member.bits) for member in members)
    for member in in_order(members):
        for tensors, components in TENSORS.items():
            row = {**marks(member), "tensors": tensors}
            bits = member.bits[member.bits.component.isin(components)]
            if bits.empty and wanted:
                rows.append(row | {"note": why_missing(member, components)})
            for (policy, target), part in bits.groupby(["policy", "target_db"], sort=False):
                rows.append(row | {"policy": policy, "target_db": target} | _needed(part))
    return typed(rows, _COLUMNS)


def _needed(bits: pd.DataFrame) -> dict[str, Any]:
    """Of all sites of one kind, under one policy, for one target."""
    known = bits[bits.sqnr_db.notna()]
    if known.empty:
        return {"sites": 0, "note": "no finite value, or nothing but zeros"}
    wanted = known.assign(bits=known.bits.astype("float64").fillna(math.inf)).sort_values("site")
    median, most = sorted(wanted.bits)[(len(wanted) - 1) // 2], wanted.bits.max()
    worst = wanted[wanted.bits == most]
    worst = worst.loc[worst.sqnr_db.idxmin() if math.isinf(most) else worst.index[0]]
    return {
        "sites": len(wanted),
        "median_bits": None if math.isinf(median) else int(median),
        "most_bits": None if math.isinf(most) else int(most),
        "worst_site": site_name(worst.component, worst.layer),
        "beyond_16": int(wanted.bits.map(math.isinf).sum()),
    }
