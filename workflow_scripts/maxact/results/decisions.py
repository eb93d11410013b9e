"""Which number format and clipping policy win, for each kind of tensor that deployment quantizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.quantize.formats import FORMATS
from maxact.quantize.tensors import TENSORS
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.tables import Member, in_order, marks, site_name

_COLUMNS = {
    **MARK_TYPES,
    "tensors": "str",
    "bits": "Int64",
    "format": "str",
    "policy": "str",
    "sites": "Int64",
    "sites_won": "Int64",
    "median_sqnr_db": "float64",
    "worst_sqnr_db": "float64",
    "worst_site": "str",
    "runner_up": "str",
    "margin_db": "float64",
    "note": "str",
}


def decisions(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, kind of tensor and width of whole-tensor formats below 16 bits: the winner.

    The winner has the largest median SQNR over the sites of the kind; among equals the first in the order of the study.
    Its margin is to the best policy of another format of that width. A site where all of its reconstruction is exact
    counts as infinite, one without finite values or without power is left out.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        for tensors, components in TENSORS.items():
            row = {**marks(member), "tensors": tensors}
            errors = member.errors[member.errors.component.isin(components)]
            if errors.empty:
                rows.append(row | {"note": "not measured; add it to measure.components"})
                continue
            bits = errors["format"].map(lambda name: FORMATS[name].bits)
            rows += [row | {"bits": width} | _won(errors[bits == width]) for width in sorted(set(bits)) if width < 16]
    return typed(rows, _COLUMNS)


def _won(errors: pd.DataFrame) -> dict[str, Any]:
    """The winner among the formats of one width."""
    sqnr = errors.sqnr_db.where(~((errors.rmse == 0) & (errors.relative_rmse == 0)), math.inf)
    known = errors.assign(sqnr=sqnr).dropna(subset="sqnr")
    if known.empty:
        return {"note": "no finite value"}
    named = [known["format"], known["policy"]]
    medians = known.groupby(named, sort=False).sqnr.apply(np.median)
    best = medians.idxmax()
    others = medians[medians.index.get_level_values(0) != best[0]]
    of_best = known[(known["format"] == best[0]) & (known["policy"] == best[1])]
    worst = of_best.loc[of_best.sqnr.idxmin()]
    largest = known.groupby("site").sqnr.max()
    found = {
        "format": best[0],
        "policy": best[1],
        "sites": known.site.nunique(),
        "sites_won": int((of_best.set_index("site").sqnr == largest).sum()),
        "median_sqnr_db": medians[best],
        "worst_sqnr_db": worst.sqnr,
        "worst_site": site_name(worst.component, None if pd.isna(worst.layer) else int(worst.layer)),
    }
    if len(others):
        second = others.idxmax()
        found |= {"runner_up": f"{second[0]}, {second[1]}"}
        found |= {"margin_db": 0.0 if others[second] == medians[best] else medians[best] - others[second]}
    return found
