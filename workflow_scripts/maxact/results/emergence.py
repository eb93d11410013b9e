"""Where along the layers the largest activations come up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.frames import MARK_TYPES, largest_of, relative_depth, residual_peaks, typed
from maxact.results.member import Member, in_order, marks

SHARE = 0.5
"""The residual stream has come up at the first layer whose largest |x| is at least this share of that of all layers."""

_COLUMNS = {
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "layers": "Int64",
    "M": "float64",
    "component": "str",
    "layer": "Int64",
    "depth": "float64",
    "residual_peak": "float64",
    "residual_peak_layer": "Int64",
    "residual_peak_depth": "float64",
    "jump": "float64",
    "jump_layer": "Int64",
    "jump_depth": "float64",
    "half_layer": "Int64",
    "half_depth": "float64",
    "nonfinite": "Int64",
}


def emergence(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint: the place of M, and where the residual stream's largest |x| comes up.

    * `jump`: the largest ratio of the residual stream's largest |x| at a layer to that at the layer before; before layer 0
      stands the embedding. A step from zero, or from or to a layer without a finite value, has no ratio.
    * `half_layer`: the first layer whose largest |x| is at least half of that over all layers (`SHARE`).
    * each `depth` is relative: `frames.relative_depth`.

    Among equal values the first layer counts.
    """
    return typed([_row(member) for member in in_order(members)], _COLUMNS)


def _row(member: Member) -> dict[str, Any]:
    M, layers, peaks = member.headline["M"], member.summary["layers"], residual_peaks(member)
    row: dict[str, Any] = {**marks(member), "layers": layers}
    if M is not None:
        row |= {"M": M["value"], "component": M["component"], "layer": M["layer"]}
        row |= {"depth": relative_depth(M["component"], M["layer"], layers)}
    if not peaks:
        return row
    largest = max(peaks.values())
    places = {"residual_peak": next(layer for layer, peak in peaks.items() if peak == largest)}
    places |= {"half": next(layer for layer, peak in peaks.items() if peak >= SHARE * largest)}
    steps = _steps(peaks, largest_of(member, "embedding"))
    if steps:
        row["jump"] = max(steps.values())
        places["jump"] = next(layer for layer, ratio in steps.items() if ratio == row["jump"])
    row["residual_peak"] = largest
    for name, layer in places.items():
        row |= {f"{name}_layer": layer, f"{name}_depth": relative_depth("residual", layer, layers)}
    return row


def _steps(peaks: dict[int, float], embedding: float | None) -> dict[int, float]:
    """The ratio of each layer's largest |x| to that before it, by layer."""
    before = {layer + 1: peak for layer, peak in peaks.items()} | ({} if embedding is None else {0: embedding})
    return {layer: peak / before[layer] for layer, peak in peaks.items() if before.get(layer)}
