"""What SmoothQuant reaches at the linear layers behind norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.results.decibels import difference, median
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks, site_name

_COLUMNS = {
    **MARK_TYPES,
    **dict.fromkeys(("component", "format", "granularity"), "str"),
    "alpha": "float64",
    "sites": "Int64",
    "tokens": "Int64",
    **{
        f"{what}_{how}_{side}_db": "float64"
        for what in ("output", "input")
        for how in ("median", "worst")
        for side in ("without", "with")
    },
    "median_gain_db": "float64",
    "sites_worse": "Int64",
    "share_worse": "float64",
    **dict.fromkeys(("worst_site", "note"), "str"),
}

WEIGHTS_ALONE = "weights alone"
"""What the granularity `none` is called: the input stays as it is."""


def smoothing(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, component, format, granularity of the input and alpha.

    SQNR of the output of the layers and of their input, with inputs and weights quantized, without smoothing and with it,
    over the sites that are smoothed. The gain at a site is that of the output; sites_worse: where it is negative. worst_site: of
    the output with smoothing. A site where the output (or input) is exact counts as infinite, one where only the other way has
    a scale as minus infinite.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        found = member.smoothing
        if found.empty:
            continue
        for (component, alpha), part in found.dropna(subset="alpha").groupby(["component", "alpha"], sort=False):
            named = {**marks(member), "component": component, "alpha": alpha}
            note = _note(part)
            plain = found[found.alpha.isna() & (found.component == component)]
            smoothed = part.dropna(subset="format")
            if smoothed.empty:
                rows.append(named | {"sites": 0, "note": note})
            for (format, granularity), one in smoothed.groupby(["format", "granularity"], sort=False):
                called = WEIGHTS_ALONE if granularity == "none" else granularity
                same = plain[(plain["format"] == format) & (plain.granularity == granularity)]
                rows.append(
                    named | {"format": format, "granularity": called} | _side_by_side(one, same) | {"note": note}
                )
    return typed(rows, _COLUMNS)


def _note(part: pd.DataFrame) -> str | None:
    """What is not in the numbers of a component and alpha: sites, and tokens."""
    left, lost = part.dropna(subset="reason"), part[part.tokens_left_out > 0]
    told = [f"{len(left)} sites left out, the first: {left.reason.iloc[0]}"] if len(left) else []
    if len(lost):
        told.append(
            f"not finite, and left out: up to {int(lost.tokens_left_out.max())} tokens, at {lost.site.nunique()} sites"
        )
    return "; ".join(told) or None


def _side_by_side(smoothed: pd.DataFrame, plain: pd.DataFrame) -> dict[str, Any]:
    """Over the sites where either has an error of the output; nothing of inputs where no SQNR is finite, as of weights alone."""
    both = smoothed.merge(plain, on="site", suffixes=("_with", "_without"))
    both = both[_reached(both, "output_").notna().any(axis=1)]
    if both.empty:
        return {"sites": 0}
    found: dict[str, Any] = {"sites": len(both), "tokens": int(both.tokens_with.max())}
    outputs, inputs = (_reached(both, what).dropna(how="all").fillna(-math.inf) for what in ("output_", ""))
    for named, reached in (("output", outputs), ("input", inputs)):
        if named == "output" or np.isfinite(reached).any(axis=None):
            found |= {f"{named}_median_{side}_db": median(reached[side]) for side in reached}
            found |= {f"{named}_worst_{side}_db": reached[side].min() for side in reached}
    gains = np.array([difference(*pair) for pair in zip(outputs["with"], outputs["without"], strict=True)])
    worst = both.iloc[int(outputs["with"].argmin())]
    return found | {
        "median_gain_db": median(gains),
        "sites_worse": int((gains < 0).sum()),
        "share_worse": float((gains < 0).mean()),
        "worst_site": site_name(worst.component_with, worst.layer_with),
    }


def _reached(both: pd.DataFrame, what: str) -> pd.DataFrame:
    """SQNR by site (rows) and side (columns): infinite where exact, NaN where there is no error."""
    return pd.DataFrame(
        {
            side: both[f"{what}sqnr_db_{side}"].mask(both[f"{what}relative_rmse_{side}"] == 0, math.inf)
            for side in ("without", "with")
        },
        dtype="float64",
    )
