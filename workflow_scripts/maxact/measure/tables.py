"""From the states of all sites to the tables of a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.histogram import abs_quantiles, code_values, finite_codes, fold_sign, moments
from maxact.measure.massive import MASSIVE_MINIMUM, MASSIVE_RATIO, key_values, signed_value
from maxact.measure.state import EXTREMES, NONE, Peak, SiteState
from maxact.measurement import QUANTILES, SCHEMAS, TOKEN_CLASSES, Measurement
from maxact.sites.components import INSIDE_EXPERTS
from maxact.sites.find import Site

ExpertTokens = Mapping[int, "np.ndarray[Any, np.dtype[np.int64]]"]
"""By layer: how many tokens chose each expert."""


def tables(
    sites: Sequence[Site],
    states: Mapping[int, SiteState],
    vocabulary: Mapping[int, str] | None,
    expert_tokens: ExpertTokens | None = None,
) -> Measurement:
    """The measurement.

    Args:
        sites: all of them, in forward order.
        states: by site number; sites that are not applicable have none.
        vocabulary: text by token id, if it is known.
        expert_tokens: of the layers with routed experts.
    """
    ordered = [(site.number, states[site.number]) for site in sites if site.number in states]
    return Measurement(
        sites=_frame("sites", [_site_row(site, states.get(site.number)) for site in sites]),
        histograms=_join("histograms", [_histogram(*item) for item in ordered]),
        samples=_join("samples", [_samples(*item) for item in ordered]),
        channels=_join("channels", [_channels(*item) for item in ordered]),
        top=_join("top", [_top(*item, vocabulary) for item in ordered]),
        classes=_frame("classes", [row for item in ordered for row in _classes(*item, vocabulary is not None)]),
        experts=_frame("experts", list(_experts(sites, states, expert_tokens or {}))),
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
        return row | {"status": "not applicable", "reason": site.reason}
    row |= {"status": "measured", "dtype": state.dtype, "rounded": state.dtype == "float32", "channels": state.channels}
    row |= {"tokens": state.rows, "count": state.rows * state.channels}
    row |= dict(zip(("nan", "positive_infinity", "negative_infinity"), state.nonfinite, strict=True))
    if state.nonfinite_place is not None:
        row |= {
            f"nonfinite_{name}": number for name, number in _place(state.nonfinite_place).items() if name != "expert"
        }
    return row | _distribution(state) | state.massive.columns(state.dtype) | _peak(state)


def _place(place: tuple[int, int, int, int]) -> dict[str, int | None]:
    sample, position, expert, channel = place
    return {"sample": sample, "position": position, "expert": None if expert < 0 else expert, "channel": channel}


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


def _peak(state: SiteState) -> dict[str, Any]:
    peak = state.peak
    if peak is None:
        return {}
    key, median = (signed_value(key, state.dtype) for key in (peak.key, peak.median_key))
    row: dict[str, Any] = {f"peak_{name}": number for name, number in _place(peak.place).items()}
    row |= {"peak": key, "peak_signed": signed_value(peak.signed_key, state.dtype)}
    return row | {"massive_peak_median": median, "massive_peak_ratio": key / median if median else np.inf}


def _largest(peak: Peak | None, dtype: str) -> dict[str, Any]:
    """Columns that tell the largest |x| of a part of a site; none where there is no finite value."""
    if peak is None:
        return {}
    place = {name: number for name, number in _place(peak.place).items() if name != "expert"}
    return {"abs_max": signed_value(peak.key, dtype), "signed": signed_value(peak.signed_key, dtype), **place}


def _classes(number: int, state: SiteState, delimiters_known: bool) -> list[dict[str, Any]]:
    rows = []
    for name, tokens, peak in zip(TOKEN_CLASSES, state.class_tokens.tolist(), state.class_peaks, strict=True):
        if name != "delimiter" or delimiters_known:
            rows.append({"site": number, "token_class": name, "tokens": tokens, **_largest(peak, state.dtype)})
    return rows


def _experts(
    sites: Sequence[Site], states: Mapping[int, SiteState], expert_tokens: ExpertTokens
) -> Iterator[dict[str, Any]]:
    inside = {
        (site.layer, site.component): states.get(site.number) for site in sites if site.component in INSIDE_EXPERTS
    }
    for layer, tokens_E in sorted(expert_tokens.items()):
        measured: list[tuple[str | None, SiteState | None]]
        measured = [(name, inside[layer, name]) for name in INSIDE_EXPERTS if inside.get((layer, name)) is not None]
        for expert, tokens in enumerate(tokens_E.tolist()):
            for component, state in measured or [(None, None)]:
                peak = _largest(state.expert_peaks.get(expert), state.dtype) if state else {}
                yield {"layer": layer, "expert": expert, "component": component, "tokens": tokens, **peak}


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


def _top(number: int, state: SiteState, vocabulary: Mapping[int, str] | None) -> dict[str, Any]:
    keys, sample, position, expert, channel, signed, tokens = state.top.T
    ranks: dict[tuple[int, int], tuple[int, int]] = {}
    token_rank, rank_in_token = [], []
    for place in zip(sample.tolist(), position.tolist(), strict=True):
        rank, within = ranks.get(place, (len(ranks), 0))
        ranks[place] = (rank, within + 1)
        token_rank.append(rank)
        rank_in_token.append(within)
    return {
        "site": np.full(len(keys), number),
        "rank": np.arange(len(keys)),
        "value": np.sign(signed) * key_values(keys, state.dtype),
        "sample": sample,
        "position": position,
        "channel": channel,
        "expert": np.where(expert < 0, np.nan, expert),
        "token_id": tokens,
        "token": np.array([vocabulary.get(token) if vocabulary else None for token in tokens.tolist()], dtype=object),
        "token_rank": np.array(token_rank, np.int64),
        "rank_in_token": np.array(rank_in_token, np.int64),
    }
