"""M: the largest activation of a checkpoint, and where it is."""

from __future__ import annotations

from typing import Any

import pandas as pd

from maxact.measurement import Measurement
from maxact.sites.components import COMPONENTS


def headline(measurement: Measurement) -> dict[str, Any]:
    """`M` over the components that the paper counts, and `M_with_gate` over these and the gates.

    Each is None where no value is finite, else: value (|x|), signed, component, layer, channel, sample, position, and
    ties, the other sites that reach the same |x|. The place is the first in forward order.
    """
    in_M = [name for name, component in COMPONENTS.items() if component.in_M]
    return {"M": _largest(measurement.sites, in_M), "M_with_gate": _largest(measurement.sites, [*in_M, "gate"])}


def _largest(sites: pd.DataFrame, components: list[str]) -> dict[str, Any] | None:
    candidates = sites[sites.component.isin(components) & sites.peak.notna()]
    if candidates.empty:
        return None
    best = candidates[candidates.peak == candidates.peak.max()].sort_values("site").to_dict("records")
    first = best[0]
    place = {key: int(first[f"peak_{key}"]) for key in ("channel", "sample", "position")}
    return {
        "value": float(first["peak"]),
        "signed": float(first["peak_signed"]),
        **_named(first),
        **place,
        "ties": [_named(other) for other in best[1:]],
    }


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {"component": row["component"], "layer": None if pd.isna(row["layer"]) else int(row["layer"])}
