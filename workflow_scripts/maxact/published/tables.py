"""A published checkpoint as tables of our own schema: what its files say, and null where they say nothing.

There are `sites`, `top` and errors; there is nothing to make histograms, samples, channels, classes or experts of. Of
`sites`, the authors do not keep places, dtypes and zero medians. What follows from what they keep: the peak is the larger of
`max` and -`min` (of equal ones `max`), and no element was NaN or infinite where the mean and the rms are finite, as both are
over all elements. Their quantiles are read off a histogram of log10 |x| with bins of 7.5 %: `approximate` is set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.measurement import SCHEMAS
from maxact.published.checks import peak
from maxact.published.names import IN_M, ONCE, PER_LAYER, component_and_layer, policy
from maxact.published.records import EVERYWHERE, PublishedCheckpoint, QuantRun, tokens_of
from maxact.published.routers import ROUTERS, held
from maxact.quantize.stage import SCHEMA as ERRORS

SITES = pa.schema(
    [
        *SCHEMAS["sites"],
        ("published_name", pa.string()),  # the authors' name of the site
        ("approximate", pa.bool_()),  # median and quantiles are right to the width of a bin
        ("holds", pa.string()),  # what a router's values are where they are no scores
        ("contradicted", pa.bool_()),  # other numbers of the files tell another largest |x| than max and min
    ]
)
"""`status` is measured, or missing where the files lack the site or its extremes."""

_SAME = ("max", "min", "mean", "std", "abs_mean", "rms", "abs_median")
_RENAMED = {
    "quantile_0.25": "abs_q25",
    "quantile_0.75": "abs_q75",
    "quantile_0.9": "abs_q90",
    "quantile_0.99": "abs_q99",
    "quantile_0.999": "abs_q999",
    "tokens": "sun_n_tokens",
    "massive_tokens": "sun_n_tokens",
    "massive_tokens_passed": "sun_n_pass",
    "massive_max_ratio": "sun_max_ratio",
    "massive_max_ratio_abs": "sun_max_ratio_abs",
    "massive_max_ratio_median": "sun_max_ratio_median",
    "massive_mean_ratio": "sun_mean_ratio",
    "massive_std_ratio": "sun_std_ratio",
    "massive_peak_ratio": "sun_peak_token_ratio",
    "massive_peak_median": "sun_peak_token_median",
}
_METRICS = {"relative_mae": "rel_mae", "relative_rmse": "rel_rmse", "mae": "mae", "rmse": "rmse", "sqnr_db": "sqnr_db"}


@dataclass(frozen=True)
class Imported:
    """What is known of one published checkpoint.

    Attributes:
        sites, top, errors: with the columns of `SITES`, of the measurement's `top`, and of `errors.parquet`.
        summary, tokens, headline: as the stages checkpoint, tokens and measure tell them; None where nothing is known.
        left_out: sites of the files that are none of a decoder of so many layers, by their names.
    """

    sites: pd.DataFrame
    top: pd.DataFrame
    errors: pd.DataFrame
    summary: Mapping[str, Any]
    tokens: Mapping[str, Any]
    headline: Mapping[str, Any]
    left_out: tuple[str, ...]


def imported(checkpoint: PublishedCheckpoint, run: QuantRun | None) -> Imported:
    """The tables of a checkpoint, and of the errors of its quantization if there are any."""
    names = list(_sites(checkpoint))
    numbers = {name: number for number, name in enumerate(names)}
    tokens = tokens_of(checkpoint)
    sites = pd.DataFrame(
        [_site(number, name, checkpoint, tokens) for name, number in numbers.items()], columns=SITES.names
    )
    sites = sites.astype({"layer": "Int16"})
    unread = int((sites.component.isin(IN_M) & sites.peak.isna()).sum())
    of_M = _against_M(checkpoint, sites)
    gaps = [f"without {unread} site{'s' if unread > 1 else ''}"] if unread else []
    in_doubt = gaps + (["M contradicted"] if of_M else [])
    return Imported(
        sites=sites,
        top=pd.DataFrame(list(_top(checkpoint, numbers)), columns=SCHEMAS["top"].names),
        errors=pd.DataFrame(list(_errors(run, numbers)), columns=ERRORS.names).astype({"layer": "Int16"}),
        summary={
            "model_type": checkpoint.model_type,
            "layers": checkpoint.layers,
            "hidden_size": checkpoint.hidden_size,
            "planted": False,
            "ancestry": ", ".join([AS_PUBLISHED, *gaps, *_contradicted(sites, of_M)]),
            "in_doubt": ", ".join(in_doubt) or None,
            "licence": None,
            "source": checkpoint.file,
        },
        tokens={
            "samples": checkpoint.samples,
            "tokens": tokens,
            "special_tokens": None,
        },
        headline=headline(sites),
        left_out=tuple(name for name in checkpoint.sites if name not in numbers),
    )


def contradicted(checkpoint: PublishedCheckpoint, sites: pd.DataFrame) -> bool:
    """Whether other numbers of the files contradict M."""
    return bool(_against_M(checkpoint, sites))


def _against_M(checkpoint: PublishedCheckpoint, sites: pd.DataFrame) -> set[str]:
    """What puts M in doubt: its own site if its maximum is, sites that are said to have a larger one, and `EVERYWHERE` where
    the files' own M is another, as when it is of a layer that the decoder has not."""
    in_M = sites[sites.component.isin(IN_M)]
    M = in_M.peak.max()
    doubts = dict(checkpoint.doubts) | _unread(checkpoint, in_M.published_name[in_M.peak.isna()])
    own = set(in_M.published_name[in_M.peak == M])
    theirs = [checkpoint.global_maximum, *(checkpoint.top.global_abs[:1] if checkpoint.top is not None else ())]
    other = pd.notna(M) and any(one is not None and abs(one) != M for one in theirs)
    return {name for name in in_M.published_name if name in doubts and (name in own or doubts[name] > M)} | (
        {EVERYWHERE} if other else set()
    )


def _contradicted(sites: pd.DataFrame, of_M: Collection[str]) -> list[str]:
    """Whether M is contradicted, and how many other maxima are, in words."""
    others = int((sites.contradicted & ~sites.published_name.isin(of_M)).sum())
    what = ["M"] if of_M else []
    what += [f"{others} {'other ' if of_M else ''}maxim{'a' if others > 1 else 'um'}"] if others else []
    return [f"{' and '.join(what)} contradicted"] if what else []


def _unread(checkpoint: PublishedCheckpoint, names: Iterable[str]) -> dict[str, float]:
    """What is told of the largest |x| of sites whose max and min cannot be used."""
    tops = checkpoint.top.sites if checkpoint.top is not None else {}
    return {
        name: max(
            checkpoint.sites.get(name, {}).get("sun_peak_abs", 0.0), abs(tops[name].values[0]) if name in tops else 0.0
        )
        for name in names
    }


M_CONTRADICTED = "M contradicted"

AS_PUBLISHED = "as published"
"""In the place of a checkpoint's ancestry: the files do not tell which weights were run."""


def headline(sites: pd.DataFrame) -> dict[str, Any]:
    """M and M_with_gate as of a measurement (`measure/headline.py`), at places of which only the site is known."""
    known = sites[sites.peak.notna()]
    nonfinite = sites[["nan", "positive_infinity", "negative_infinity"]]
    return {
        "M": _largest(known[known.component.isin(IN_M)]),
        "M_with_gate": _largest(known[known.component.isin({*IN_M, "gate"})]),
        "nonfinite": None if nonfinite.isna().any(axis=None) else int(nonfinite.to_numpy().sum()),
        "attention": None,
    }


def write_table(frame: pd.DataFrame, schema: pa.Schema, file: Path) -> Path:
    """Write Parquet: equal tables give equal bytes, without what pandas notes of itself."""
    pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata(None), file)
    return file


def _sites(checkpoint: PublishedCheckpoint) -> Iterator[str]:
    """The authors' names of the sites that a decoder of so many layers has, in forward order."""
    embedding, norm = ONCE
    yield embedding
    present = {name for name in checkpoint.sites if component_and_layer(name) is not None}
    gates = Counter(name.partition("_")[2].partition("_")[2] for name in present if name.endswith("_gate"))
    usual = max(gates, key=lambda kind: gates[kind], default="mlp_gate")
    for layer in range(checkpoint.layers):
        here = {kind for kind in PER_LAYER if f"layer_{layer}_{kind}" in present}
        here |= {"attn_output", "mlp_output", "hidden"}
        here |= set() if here & {"mlp_gate", "moe_gate"} else {usual}
        yield from (f"layer_{layer}_{kind}" for kind in PER_LAYER if kind in here)
    yield norm


def _site(number: int, name: str, checkpoint: PublishedCheckpoint, tokens: int | None) -> dict[str, Any]:
    component, layer = component_and_layer(name) or ("", None)
    row: dict[str, Any] = {"site": number, "component": component, "layer": layer, "published_name": name}
    values = checkpoint.sites.get(name)
    largest = peak(values) if values is not None else None
    if values is None or largest is None:
        lacking = "the site" if values is None else "a max and min of it that can be used"
        row |= {"status": "missing", "reason": f"{checkpoint.file} lacks {lacking}", "contradicted": False}
    else:
        row |= {"status": "measured", "peak": largest, "contradicted": name in checkpoint.doubts}
        row |= {"peak_signed": values["max"] if values["max"] == largest else values["min"]}
    if not values:
        return row
    row |= {ours: values.get(ours) for ours in _SAME} | {ours: values.get(theirs) for ours, theirs in _RENAMED.items()}
    row |= {"count": values.get("count"), "approximate": "abs_median" in values}
    if name.endswith(ROUTERS):
        row |= {"holds": held(values, tokens)}
    if component in IN_M and "sun_n_tokens" in values:
        row |= {"channels": checkpoint.hidden_size}
    if {"mean", "rms"} <= values.keys():
        row |= {"nan": 0, "positive_infinity": 0, "negative_infinity": 0}
    return row


def _top(checkpoint: PublishedCheckpoint, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for name, number in numbers.items():
        if checkpoint.top is not None and name in checkpoint.top.sites:
            for rank, value in enumerate(checkpoint.top.sites[name].values):
                yield {"site": number, "rank": rank, "value": value}


def _errors(run: QuantRun | None, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Rows of `errors.parquet`: whole tensors, thresholds from |x| alone, the largest |x| first."""
    for metric in sorted(run.metrics, key=lambda one: policy(one["policy"]) != "max") if run is not None else ():
        if run is None or metric["layer"] not in numbers:
            continue
        component, layer = component_and_layer(metric["layer"]) or ("", None)
        threshold = run.thresholds.get(metric["policy"], {}).get(metric["layer"])
        yield {
            "site": numbers[metric["layer"]],
            "component": component,
            "layer": layer,
            "format": f"int{run.bits}",
            "granularity": "tensor",
            "policy": policy(metric["policy"]),
            "threshold": threshold,
            "scale": threshold and threshold / (2 ** (run.bits - 1) - 1),
            "elements": metric["count"],
            **{ours: metric[theirs] for ours, theirs in _METRICS.items()},
            "clip_rate": metric["clip_rate"],
        }


def _largest(sites: pd.DataFrame) -> dict[str, Any] | None:
    named = ["site", "component", "layer", "peak", "peak_signed"]  # rows of all columns take long
    best = sites.loc[sites.peak == sites.peak.max(), named].sort_values("site").to_dict("records")
    if not best:
        return None
    places = [
        {"component": row["component"], "layer": None if pd.isna(row["layer"]) else int(row["layer"])} for row in best
    ]
    nowhere = dict.fromkeys(("channel", "sample", "position"))
    first = {"value": float(best[0]["peak"]), "signed": float(best[0]["peak_signed"])}
    return {**first, **places[0], **nowhere, "ties": places[1:]}
