"""How the error of a tensor depends on the clipping threshold.

A curve is the SQNR on the evaluation split under every threshold of a grid, whatever a policy would choose. Curves are made at
two sites of a checkpoint: the peak of its residual stream, and the input of linear layers that is hardest to quantize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.histogram import Codes, Counts, abs_max
from maxact.quantize.errors import Distribution, error
from maxact.quantize.formats import FORMATS, Floats
from maxact.quantize.quantizers import quantizer
from maxact.quantize.tensors import ALL_LINEAR_INPUTS
from maxact.quantize.widths import decibels

STEPS_PER_OCTAVE = 8
OCTAVES = 20
"""Thresholds go from twice the largest |x| of the evaluation split down by so many factors of two."""

LARGEST_FLOAT32 = float((2 - 2**-23) * 2.0**127)
"""Above it a threshold has no scale."""

PEAK, HARDEST = "peak of the residual stream", "hardest input of a linear layer"
"""Why a site has a curve."""


def curve(evaluation: tuple[Codes, Counts], dtype: str, format: str) -> list[dict[str, float]]:
    """A row for each threshold: the SQNR in dB (infinite where reconstruction is exact) and the clip rate.

    None where the split has no finite value, or nothing but zeros.

    Args:
        format: a symmetric format with a scale.
    """
    largest = abs_max(evaluation[0], dtype)
    if not largest > 0:
        return []
    tensor, rows = Distribution.of(*evaluation, dtype), []
    for step in range(-STEPS_PER_OCTAVE, (OCTAVES - 1) * STEPS_PER_OCTAVE + 1):
        threshold = largest * 2.0 ** (-step / STEPS_PER_OCTAVE)
        if threshold > LARGEST_FLOAT32:
            continue
        found = error(tensor, quantizer(FORMATS[format], threshold))
        rows.append({"threshold": threshold, "sqnr_db": decibels(found), "clip_rate": found.clip_rate})
    return rows


def curve_formats(formats: Sequence[str]) -> list[str]:
    """The first symmetric integers and the first floating-point format with a scale among those of a study."""
    free = [name for name in formats if FORMATS[name].scaling == "free" and not FORMATS[name].asymmetric]
    floating = [name for name in free if isinstance(FORMATS[name].elements, Floats)]
    return [*[name for name in free if name not in floating][:1], *floating[:1]]


def curve_sites(sites: pd.DataFrame, errors: Sequence[Mapping[str, Any]], formats: Sequence[str]) -> dict[int, str]:
    """The sites that have curves, each with the reason: at most two.

    The first is the 16-bit residual site with the largest |x|, the first of equal ones. The second is the input of linear layers
    at which the best policy of the first of `curve_formats` has the lowest SQNR.

    Args:
        sites: those that have errors.
        errors: rows of `errors.parquet`.
    """
    chosen: dict[int, str] = {}
    residual = sites[(sites.component == "residual") & sites.peak.notna()]
    if len(residual):
        chosen[int(residual.site[residual.peak == residual.peak.max()].min())] = PEAK
    best: dict[int, float] = {}
    for row in errors:
        known = row["sqnr_db"] == row["sqnr_db"] and row["component"] in ALL_LINEAR_INPUTS
        if known and row["format"] in curve_formats(formats)[:1]:
            best[row["site"]] = max(best.get(row["site"], row["sqnr_db"]), row["sqnr_db"])
    if best:
        chosen[min(best, key=lambda site: (best[site], site))] = HARDEST
    return chosen
