"""Where a quantizer of a study can be applied in a model, and what each tensor is put through.

A static scale (of a tensor, or of all blocks of `nvfp4`) comes from the calibration histogram of a measurement, a dynamic one
from the tensor itself.
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
from maxact.quantize.in_pass import FakeQuantize, LookedUp, cast, dynamic
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.sites.find import Site, find_sites
from maxact.sites.parts import NO_EXPERTS
from maxact.sites.replace import not_replaceable


@dataclass(frozen=True)
class Plan:
    """A quantizer of the study at the sites of a model.

    Attributes:
        at: by site number, what its tensor is put through.
        left: sites that are not quantized, with the reason.
    """

    sites: list[Site]
    at: Mapping[int, FakeQuantize]
    left: list[tuple[Site, str]]


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


def plan(decoder: Any, asked: Mapping[str, Any], known: Histograms) -> Plan:
    """Where a quantizer of the study can be applied, and how at each site.

    Args:
        asked: format, granularity, policy and components.
    """
    format = FORMATS[asked["format"]]
    sites, left = [], []
    at: dict[int, FakeQuantize] = {}
    for site in find_sites(decoder, asked["components"]):
        reason = not_replaceable(site)
        if reason == NO_EXPERTS:
            continue  # a dense layer: there is nothing to quantize
        how = reason or _how(format, asked["granularity"], asked["policy"], known, (site.component, site.layer))
        if isinstance(how, str):
            left.append((site, how))
        else:
            sites.append(site)
            at[site.number] = how
    return Plan(sites, at, left)


def _how(
    format: Format, granularity: str, policy: str, known: Histograms, place: tuple[str, int | None]
) -> FakeQuantize | str:
    """What a tensor is put through, or why not."""
    if format.scaling == "none":
        return cast(format)
    if granularity != "tensor" and format.scaling != "two_level":
        return dynamic(format, None if format.block else granularity)
    dtype = known.dtypes.get(place)
    if dtype is None:
        return "not measured, so it has no static scale"
    if place not in known.codes:
        return "the calibration split has no finite value here"
    if dtype == "float32":
        return "its histogram is of rounded values, so it has no static scale"
    codes, counts = known.codes[place]
    if abs_max(codes, dtype) == 0:
        return "the calibration split has nothing but zeros here"
    if format.scaling == "two_level":
        return dynamic(format, None, abs_max(codes, dtype))
    threshold = threshold_of(policy, codes, counts, dtype, format)
    if threshold == 0:
        return f"its threshold by {policy} is 0: that share of the calibration split is zeros"
    return LookedUp(quantizer(format, threshold, *Distribution.of(codes, counts, dtype).extremes), dtype)
