"""Where a quantizer of a study can be applied in a model, and what each tensor is put through.

A static scale (of a tensor, or of all blocks of `nvfp4`) comes from the calibration histogram of a measurement, a dynamic one
from the tensor itself. With `smooth` a site is divided by SmoothQuant's scales first (`quantize/smoothing.py`), where a norm
gives it to linear layers alone; its static scale is then for the largest |x / s| of the calibration split. Other sites are
quantized as without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from maxact.histogram import Codes, Counts, abs_max
from maxact.measurement import SPLITS
from maxact.quantize.errors import Distribution
from maxact.quantize.formats import FORMATS, Format
from maxact.quantize.in_pass import FakeQuantize, LookedUp, cast, dynamic, smoothed, static
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.quantize.smoothing import Place, Smoothing
from maxact.sites.find import Site, find_sites
from maxact.sites.parts import NO_EXPERTS
from maxact.sites.replace import not_replaceable

Smoothings = Mapping[Place, Smoothing | str]

NOT_NORMED = "not what a norm gives"
ZEROS = "the calibration split has nothing but zeros here"


@dataclass(frozen=True)
class Plan:
    """A quantizer of the study at the sites of a model.

    Attributes:
        at: by site number, what its tensor is put through.
        left: sites that are not quantized, with the reason.
        plain: of a quantizer with `smooth`, the sites that are quantized without, with the reason by site number.
    """

    sites: list[Site]
    at: Mapping[int, FakeQuantize]
    left: list[tuple[Site, str]]
    plain: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Histograms:
    """Calibration histograms of a measurement, by component and layer (None where a component exists once)."""

    dtypes: dict[tuple[str, int | None], str]
    codes: dict[tuple[str, int | None], tuple[Codes, Counts]] = field(repr=False)

    @staticmethod
    def of(sites: pd.DataFrame, histograms: pd.DataFrame) -> Histograms:
        """Of the tables of a measurement."""
        measured = sites[sites.status == "measured"]
        places = {
            row.site: (row.component, None if pd.isna(row.layer) else int(row.layer)) for row in measured.itertuples()
        }
        dtypes = dict(zip(places.values(), measured["dtype"], strict=True))
        calibration = histograms[histograms["split"] == SPLITS.index("calibration")]
        codes = {
            places[site]: (rows["code"].to_numpy(), rows["count"].to_numpy())
            for site, rows in calibration.groupby("site")
            if site in places
        }
        return Histograms(dtypes, codes)


def plan(decoder: Any, asked: Mapping[str, Any], known: Histograms, smoothings: Smoothings | None = None) -> Plan:
    """Where a quantizer of the study can be applied, and how at each site.

    Args:
        asked: format, granularity, policy and components.
        smoothings: of a quantizer with `smooth`, `smoothings_of` its alpha.
    """
    format = FORMATS[asked["format"]]
    sites, left = [], []
    at: dict[int, FakeQuantize] = {}
    plain: dict[int, str] = {}
    for site in find_sites(decoder, asked["components"]):
        reason = not_replaceable(site)
        if reason == NO_EXPERTS:
            continue  # a dense layer: there is nothing to quantize
        place = (site.component, site.layer)
        smooth = None if smoothings is None else smoothings.get(place, NOT_NORMED)
        if isinstance(smooth, Smoothing):
            how = reason or _smoothed(format, asked["granularity"], asked["policy"], smooth)
        else:
            how = reason or _how(format, asked["granularity"], asked["policy"], known, place)
        if isinstance(how, str):
            left.append((site, how))
        else:
            sites.append(site)
            at[site.number] = how
            if isinstance(smooth, str):
                plain[site.number] = smooth
    return Plan(sites, at, left, plain)


def _smoothed(format: Format, granularity: str, policy: str, smooth: Smoothing) -> FakeQuantize | str:
    if smooth.largest == 0:
        return ZEROS
    if format.block or granularity != "tensor":
        largest = smooth.largest if format.scaling == "two_level" else None
        return smoothed(dynamic(format, None if format.block else granularity, largest, policy), smooth.scale_C)
    return smoothed(static(format, smooth.largest), smooth.scale_C)


def _how(
    format: Format, granularity: str, policy: str, known: Histograms, place: tuple[str, int | None]
) -> FakeQuantize | str:
    """What a tensor is put through, or why not."""
    if format.scaling == "none":
        return cast(format)
    if granularity != "tensor" and format.scaling != "two_level":
        return dynamic(format, None if format.block else granularity, policy=policy)
    dtype = known.dtypes.get(place)
    if dtype is None:
        return "not measured, so it has no static scale"
    if place not in known.codes:
        return "the calibration split has no finite value here"
    if dtype == "float32":
        return "its histogram is of rounded values, so it has no static scale"
    codes, counts = known.codes[place]
    if abs_max(codes, dtype) == 0:
        return ZEROS
    if format.scaling == "two_level":
        return dynamic(format, None, abs_max(codes, dtype), policy)
    threshold = threshold_of(policy, codes, counts, dtype, format)
    if threshold == 0:
        return f"its threshold by {policy} is 0: that share of the calibration split is zeros"
    return LookedUp(quantizer(format, threshold, *Distribution.of(codes, counts, dtype).extremes), dtype)
