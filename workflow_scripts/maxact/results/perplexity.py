"""What quantizing activations costs: perplexity of real checkpoints beside the reconstruction error of what was quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.decibels import exact_as_infinite, median
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, every_error, in_order, marks

NOT_FINITE = "a logit is not finite"

_COLUMNS = {
    **MARK_TYPES,
    **dict.fromkeys(("format", "granularity", "policy", "tensors"), "str"),
    **dict.fromkeys(("smooth", "perplexity", "ratio", "divergence", "median_sqnr_db"), "float64"),
    **dict.fromkeys(("sites", "smoothed", "sites_with_error", "sites_left", "tokens", "samples"), "Int64"),
    "note": "str",
}


def perplexity(members: Sequence[Member]) -> pd.DataFrame:
    """A row without quantization, and one for each quantizer, of every checkpoint that the study asks it of.

    ratio: of the perplexity to that without quantization. divergence: mean KL divergence of the next-token distributions
    from those without quantization, in nats. median_sqnr_db: over the quantized sites whose error is stored, which are
    `sites_with_error` of `sites`; exact reconstruction counts as infinite. smooth: alpha of SmoothQuant, whose scales are used at
    `smoothed` of the sites; it has no SQNR, as stored errors are of tensors that nothing has divided. sites_left: not quantized,
    for the reason in note.
    """
    rows = []
    for member in in_order(members):
        if member.perplexity is None or member.quantized is None:
            continue
        errors = every_error(member)
        for row in member.perplexity.to_dict("records"):
            asked = member.quantized[member.quantized["quantizer"] == row["quantizer"]]
            places, left = asked[asked.reason.isna()], asked[asked.reason.notna()]
            told = {name: row[name] for name in _COLUMNS if name in row}
            told |= {"format": row["format"] if isinstance(row["format"], str) else "none", "sites_left": len(left)}
            rows.append(
                {
                    **marks(member),
                    **told,
                    **_error(errors, row, places),
                    "note": _note(row, left, places[places["plain"].notna()]),
                }
            )
    return typed(rows, _COLUMNS)


def _error(errors: pd.DataFrame, row: dict[Any, Any], places: pd.DataFrame) -> dict[str, Any]:
    """The median SQNR of a quantizer's stored errors at these places."""
    here = (errors["format"] == row["format"]) & (errors["granularity"] == row["granularity"])
    if pd.notna(row["smooth"]):
        places = places[:0]  # what is stored is of tensors that nothing has divided
    here &= errors["policy"] == row["policy"]
    wanted = places[["component", "layer"]].astype({"layer": "Int16"})
    known = errors[here].astype({"layer": "Int16"}).merge(wanted, on=["component", "layer"])
    sqnr = exact_as_infinite(known).dropna()
    return {"sites_with_error": len(sqnr), "median_sqnr_db": median(sqnr)}


def _note(row: dict[Any, Any], left: pd.DataFrame, plain: pd.DataFrame) -> str:
    counted = Counter(zip(left.component, left.reason, strict=True))
    told = [f"{component}, {count} sites: {reason}" for (component, reason), count in counted.items()]
    without = Counter(zip(plain.component, plain["plain"], strict=True))
    told += [f"{component}, {count} sites: not smoothed, {reason}" for (component, reason), count in without.items()]
    return "; ".join([*([NOT_FINITE] if pd.isna(row["perplexity"]) else []), *told])
