"""Scales of a measured checkpoint under the names of its modules, as compressed-tensors and vLLM read them.

* `<linear>.input_scale`, float32 [1]: of every `nn.Linear` that a measured site feeds.
* `<attention>.k_scale`, `.v_scale`, float32 [1]: of keys after the rotary embedding, and of values.
* `<norm>.smoothquant_scale`, float32 [channels]: s of `smoothing.py` for the linear layers that the norm feeds.

What has no scale is in `left_out`, with the reason. A float32 site has none: its histogram is of rounded values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from maxact.histogram import Codes, Counts
from maxact.measurement import SPLITS
from maxact.quantize.scales import Scale, static_scale
from maxact.quantize.smoothing import Smoothing, layer_of, other_width, smoothings
from maxact.quantize.tensors import NORMED
from maxact.quantize.weights import Weights
from maxact.quantize.wiring import CACHED, Fed

Tensors = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
TWO_SCALES = "another site has another scale for the same module"


@dataclass(frozen=True)
class Choice:
    """Attributes: format, policy: of static scales. alpha: of SmoothQuant."""

    format: str
    policy: str
    alpha: float


@dataclass
class Scales:
    """What is exported, and a row of JSON for each site, each group and each thing left out."""

    static: Tensors = field(default_factory=dict)
    smooth: Tensors = field(default_factory=dict)
    sites: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    kv_cache: bool = False
    """Whether every layer that caches keys and values has a scale for both."""


def scales_of(
    sites: pd.DataFrame,
    histograms: pd.DataFrame,
    channels: pd.DataFrame,
    fed: list[Fed],
    weights: Weights,
    choice: Choice,
) -> Scales:
    """The scales of a measurement.

    Args:
        sites, histograms, channels: its tables.
        fed: what `wiring` says of its checkpoint.
    """
    made = Scales()
    smooth = smoothings(fed, sites, channels, weights, choice.alpha)
    rows = {(row["component"], layer_of(row["layer"])): row for row in sites.to_dict("records")}
    counted = dict(iter(histograms.groupby(["site", "split"])))
    cached = 0
    for one in fed:
        row = rows.get((one.component, one.layer))
        if row is None:
            continue
        what = CACHED.get(one.component, "input_scale")
        reason = _reason(row, one)
        found: Scale | str
        if reason is None:
            split = {name: _counts(counted.get((row["site"], SPLITS.index(name)))) for name in SPLITS[:2]}
            found = static_scale(split["calibration"], split["evaluation"], row["dtype"], choice.format, choice.policy)
        else:
            found = reason
        cached += one.component in CACHED and row["status"] == "measured"
        if isinstance(found, str):
            made.left_out.append(_named(one) | {"what": what, "reason": found})
        else:
            made.sites.append(_told(one, row, what, found))
        if one.component in NORMED and row["status"] == "measured":
            _smooth(made, one, smooth[one.component, one.layer])
    _collect(made)
    scaled = [row["component"] for row in made.sites if row["component"] in CACHED]
    made.kv_cache = len(scaled) == cached and set(scaled) == set(CACHED)
    return made


def add_reached(made: Scales, smoothing: pd.DataFrame | None, alpha: float) -> None:
    """Tell of each group what its layers reach with s and without, or that it is not measured.

    Args:
        smoothing: smoothing.parquet of the stage `evaluate`, if there is one.
    """
    for group in made.groups:
        told = []
        if smoothing is not None:
            place = (smoothing.component == group["component"]) & (smoothing.layer == group["layer"])
            mine = smoothing[place & smoothing["format"].notna()]
            key = ["format", "granularity"]
            both = mine[mine.alpha == alpha].merge(mine[mine.alpha.isna()], on=key, suffixes=("", "_without"))
            for row in both.to_dict("records"):
                reached = {name: _json(row[name]) for name in ("output_sqnr_db", "output_sqnr_db_without")}
                told.append({name: row[name] for name in key} | reached)
        group["reached"] = told or "not measured"


def _collect(made: Scales) -> None:
    """Static scales under their names; a name that two sites give another scale gets none."""
    given: dict[str, set[float]] = {}
    for row in made.sites:
        for name in row["names"]:
            given.setdefault(name, set()).add(row["scale"])
    for row in list(made.sites):
        if any(len(given[name]) > 1 for name in row["names"]):
            made.sites.remove(row)
            made.left_out.append({key: row[key] for key in ("component", "layer", "what")} | {"reason": TWO_SCALES})
        else:
            made.static |= {name: np.array([row["scale"]], np.float32) for name in row["names"]}


def _smooth(made: Scales, one: Fed, found: Smoothing | str) -> None:
    """One group of linear layers behind a norm, or why it has no s."""
    if isinstance(found, str):
        made.left_out.append(_named(one) | {"what": "smoothquant_scale", "reason": found})
        return
    name = f"{found.norm}.smoothquant_scale"
    if name not in made.smooth:  # attention and MLP side by side behind one norm are one group
        made.smooth[name] = found.scale_C
        told = {
            "norm": found.norm,
            "linears": list(found.modules),
            "smallest": float(found.scale_C.min()),
            "largest": float(found.scale_C.max()),
            "channels": len(found.scale_C),
            "channels_with_a_maximum_of_0": int(((found.x_C == 0) | (found.w_C == 0)).sum()),
        }
        made.groups.append(_named(one) | told)


def _reason(row: Mapping[Any, Any], one: Fed) -> str | None:
    """Why a site has no static scale, as far as that is known before its histogram is looked at."""
    if row["status"] != "measured":
        return f"not applicable: {row['reason']}"
    if row["dtype"] == "float32":
        return "float32: its histogram is of rounded values; measure in bfloat16 or float16"
    return one.reason or other_width(row["channels"], one)


def _told(one: Fed, row: Mapping[Any, Any], what: str, found: Scale) -> dict[str, Any]:
    nonfinite = sum(int(row[name]) for name in ("nan", "positive_infinity", "negative_infinity"))
    reached = {
        name: _json(getattr(found.error, name))
        for name in ("relative_rmse", "sqnr_db", "clip_rate", "elements")
    }  # fmt: skip
    names = [f"{module}.{what}" for module in one.modules]
    scaled = {"what": what, "names": names, "threshold": found.threshold, "scale": found.scale}
    return _named(one) | scaled | {"evaluation": reached, "nonfinite_activations": nonfinite}


def _json(number: float) -> float | str | None:
    """JSON has no NaN (not defined) and no infinity."""
    return None if math.isnan(number) else number if math.isfinite(number) else str(number)


def _named(one: Fed) -> dict[str, Any]:
    return {"component": one.component, "layer": one.layer}


def _counts(part: pd.DataFrame | None) -> tuple[Codes, Counts]:
    if part is None:
        return np.array([], np.uint16), np.array([], np.int64)
    return part["code"].to_numpy(np.uint16), part["count"].to_numpy(np.int64)
