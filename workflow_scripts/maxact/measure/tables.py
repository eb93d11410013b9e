"""From the states of all sites to the tables of a measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.histogram import abs_quantiles, code_values, finite_codes, fold_sign, moments
from maxact.measure.state import EXTREMES, MASSIVE_MINIMUM, MASSIVE_RATIO, NONE, SiteState, key_values, signed_value
from maxact.measurement import QUANTILES, SCHEMAS, Measurement
from maxact.sites.find import Site

TokenText = Mapping[tuple[int, int], tuple[int, str | None]]
"""(sample, position) -> token id and its text."""


def tables(
    sites: Sequence[Site],
    states: Mapping[int, SiteState],
    tokens: Mapping[int, Sequence[int]],
    vocabulary: Mapping[int, str] | None,
) -> Measurement:
    """The measurement.

    Args:
        sites: all of them, in forward order.
        states: by site number; sites that are not applicable have none.
        tokens: token ids by sample.
        vocabulary: text by token id, if it is known.
    """
    ordered = [(site.number, states[site.number]) for site in sites if site.number in states]
    return Measurement(
        sites=_frame("sites", [_site_row(site, states.get(site.number)) for site in sites]),
        histograms=_join("histograms", [_histogram(*item) for item in ordered]),
        samples=_join("samples", [_samples(*item) for item in ordered]),
        channels=_join("channels", [_channels(*item) for item in ordered]),
        top=_join("top", [_top(*item, tokens, vocabulary) for item in ordered]),
    )


def _frame(table: str, rows: Any) -> pd.DataFrame:
    """A data frame with the columns and types of the stored table; integers and booleans may be missing."""
    frame = pd.DataFrame(rows, columns=SCHEMAS[table].names)
    for column in SCHEMAS[table]:
        kind = column.type.to_pandas_dtype()
        if np.issubdtype(kind, np.integer) and frame[column.name].isna().any():
            frame[column.name] = frame[column.name].astype(f"Int{np.dtype(kind).itemsize * 8}")
        elif np.issubdtype(kind, np.number):
            frame[column.name] = frame[column.name].astype(kind)
        elif kind is np.bool_:
            frame[column.name] = frame[column.name].astype("boolean")
    return frame


def _join(table: str, columns: list[dict[str, Any]]) -> pd.DataFrame:
    joined = (
        {name: np.concatenate([part[name] for part in columns]) for name in SCHEMAS[table].names} if columns else {}
    )
    return _frame(table, joined)


def _site_row(site: Site, state: SiteState | None) -> dict[str, Any]:
    row: dict[str, Any] = {"site": site.number, "component": site.component, "layer": site.layer}
    if state is None:
        return row | {"status": "not applicable"}
    row |= {"status": "measured", "dtype": state.dtype, "rounded": state.dtype == "float32", "channels": state.channels}
    row |= {"tokens": state.tokens, "count": state.tokens * state.channels}
    row |= dict(zip(("nan", "positive_infinity", "negative_infinity"), state.nonfinite, strict=True))
    if state.nonfinite_place is not None:
        names = ("nonfinite_sample", "nonfinite_position", "nonfinite_channel")
        row |= dict(zip(names, state.nonfinite_place, strict=True))
    row |= {"massive_tokens": state.massive_tokens, "massive_tokens_passed": state.massive_tokens_passed}
    return row | _distribution(state) | _peaks(state)


def _distribution(state: SiteState) -> dict[str, Any]:
    """Extremes from the samples, exact in any dtype; the rest from the histogram."""
    dtype = "bfloat16" if state.dtype == "float32" else state.dtype
    counts = np.where(finite_codes(dtype), state.counts.sum(axis=0), 0)
    codes = np.flatnonzero(counts).astype(np.uint16)
    counts = counts[codes]
    median, *quantiles = abs_quantiles(codes, counts, dtype, ["0.5", *QUANTILES])
    magnitudes, folded = fold_sign(codes, counts)
    values = code_values(dtype)[magnitudes]
    massive = folded[(values > MASSIVE_MINIMUM) & (values > MASSIVE_RATIO * median)].sum()
    found = {
        **vars(moments(codes, counts, dtype)),
        "abs_median": median,
        **{f"quantile_{q}": value for q, value in zip(QUANTILES, quantiles, strict=True)},
        "massive_elements_by_site_median": int(massive),
    }
    extremes = np.array(state.extremes, np.int64).reshape(-1, EXTREMES)
    seen = extremes[extremes[:, 1] != NONE]
    if len(seen):
        found |= {"max": signed_value(int(seen[:, 1].max()), state.dtype)}
        found |= {"min": signed_value(int(seen[:, 4].min()), state.dtype)}
    return found


def _peaks(state: SiteState) -> dict[str, Any]:
    if state.peak is None or state.ratio is None:
        return {}
    row = {"peak": abs(signed_value(state.peak.key, state.dtype))}
    row |= {"peak_signed": signed_value(state.peak.signed_key, state.dtype), "massive_peak_ratio": state.peak.ratio}
    row |= dict(zip(("peak_sample", "peak_position", "peak_channel"), state.peak.place, strict=True))
    row |= {"massive_max_ratio": state.ratio.value}
    return row | dict(zip(("massive_max_ratio_sample", "massive_max_ratio_position"), state.ratio.place, strict=True))


def _histogram(number: int, state: SiteState) -> dict[str, Any]:
    finite = finite_codes("bfloat16" if state.dtype == "float32" else state.dtype)
    split, code = np.nonzero(np.where(finite, state.counts, 0))
    return {"site": np.full(len(code), number), "split": split, "code": code, "count": state.counts[split, code]}


def _samples(number: int, state: SiteState) -> dict[str, Any]:
    rows = np.array(state.extremes, np.int64).reshape(-1, EXTREMES)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    none = rows[:, 1] == NONE
    columns: dict[str, Any] = {"site": np.full(len(rows), number), "sample": rows[:, 0]}
    for name, at in (("max", 1), ("min", 4)):
        keys = np.where(none, 0, rows[:, at])
        columns[name] = np.where(none, np.nan, np.sign(keys) * key_values(np.abs(keys), state.dtype))
        for offset, place in enumerate(("position", "channel"), start=1):
            columns[f"{name}_{place}"] = np.where(none, np.nan, rows[:, at + offset])
    return columns


def _channels(number: int, state: SiteState) -> dict[str, Any]:
    columns = {"site": np.full(state.channels, number), "channel": np.arange(state.channels)}
    for name, keys in (("abs_max", state.channel_max_C), ("abs_max_calibration", state.channel_max_calibration_C)):
        columns[name] = np.where(keys < 0, np.nan, key_values(np.maximum(keys, 0), state.dtype))
    return columns


def _top(
    number: int, state: SiteState, tokens: Mapping[int, Sequence[int]], vocabulary: Mapping[int, str] | None
) -> dict[str, Any]:
    keys, sample, position, channel, signed = state.top.T
    ranks: dict[tuple[int, int], tuple[int, int]] = {}
    token_rank, rank_in_token, ids = [], [], []
    for place in zip(sample.tolist(), position.tolist(), strict=True):
        rank, within = ranks.get(place, (len(ranks), 0))
        ranks[place] = (rank, within + 1)
        token_rank.append(rank)
        rank_in_token.append(within)
        ids.append(tokens[place[0]][place[1]])
    return {
        "site": np.full(len(keys), number),
        "rank": np.arange(len(keys)),
        "value": np.sign(signed) * key_values(keys, state.dtype),
        "sample": sample,
        "position": position,
        "channel": channel,
        "token_id": np.array(ids, np.int64),
        "token": np.array([vocabulary.get(token) if vocabulary else None for token in ids], dtype=object),
        "token_rank": np.array(token_rank, np.int64),
        "rank_in_token": np.array(rank_in_token, np.int64),
    }
