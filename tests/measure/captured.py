"""Tensors seen through the real hooks, without a model around them, and their tables compared with the oracle's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from oracles.statistics import Sampled, SiteStatistics, site_statistics, token_ranks

from maxact.measure.run import Sample, Watch
from maxact.measure.state import SiteState
from maxact.measure.tables import tables
from maxact.measurement import QUANTILES, SPLITS, Measurement
from maxact.sites.find import Place, Site

TOKEN = 7
"""Every token's id in these tests."""


def watched(samples: Iterable[Sampled], kernel: str) -> tuple[list[Site], dict[int, SiteState]]:
    """The site whose module returns these tensors, and its state afterwards."""
    module = torch.nn.Identity()
    sites = [Site(0, "residual", 0, Place(module))]
    with Watch(sites, kernel) as watch:
        for sample, split, x_TC in samples:
            watch.begin(Sample(sample, split, (TOKEN,) * len(x_TC)))
            module(x_TC[None])
            watch.end()
    return sites, watch.states


def measured(samples: Sequence[Sampled], kernel: str) -> Measurement:
    """The tables of one site that returned these tensors."""
    sites, states = watched(samples, kernel)
    return tables(sites, states, {TOKEN: "seven"})


def same(found: Any, expected: Any, relative: float = 0.0, absolute: float = 0.0) -> bool:
    """Equality where both may be missing."""
    if pd.isna(found) or expected is None:
        return bool(pd.isna(found)) and expected is None
    if isinstance(expected, float) and math.isfinite(expected):
        return math.isclose(found, expected, rel_tol=relative, abs_tol=absolute)
    return bool(found == expected)


def assert_agrees(
    found: Measurement, samples: Sequence[Sampled], site: int = 0, classes: dict[int, list[str]] | None = None
) -> None:
    """Every table of one site says what the oracle says; `classes` are those of the tokens, by default first and others."""
    by_position = {sample: ["first", *["other"] * (len(x) - 1)] for sample, _, x in samples}
    expected = site_statistics(list(samples), QUANTILES, classes or by_position)
    _assert_summary(found.sites.set_index("site").loc[site].to_dict(), expected)
    histogram = found.histograms[found.histograms.site == site]
    assert {
        (SPLITS[row.split], int(row.code)): row.count for row in histogram.astype("int64").itertuples(index=False)
    } == expected.histogram
    rows = found.samples[found.samples.site == site].set_index("sample")
    assert list(rows.index) == sorted(expected.extremes)
    for sample, extremes in expected.extremes.items():
        row = rows.loc[sample].to_dict()
        names = [f"{side}{part}" for side in ("max", "min") for part in ("", "_position", "_channel")]
        assert all(same(row[name], value) for name, value in zip(names, extremes, strict=True)), (sample, row, extremes)
    channels = found.channels[found.channels.site == site]
    for row in channels.to_dict("records"):
        assert same(row["abs_max"], expected.channel_max[row["channel"]])
        assert same(row["abs_max_calibration"], expected.channel_max_calibration[row["channel"]])
    assert len(channels) == len(expected.channel_max)
    _assert_top(found.top[found.top.site == site], expected)
    _assert_classes(found.classes[found.classes.site == site], expected)


def _assert_summary(row: dict[str, Any], expected: SiteStatistics) -> None:
    scale = expected.summary["rms"] or 0.0
    for name, value in expected.summary.items():
        # Moments differ by float64 rounding from fractions; all else is exact.
        moment = name in ("mean", "std", "abs_mean", "rms")
        close = {"relative": 1e-12, "absolute": 1e-12 * scale} if moment else {}
        if name == "massive_std_ratio" and value is not None:  # from sums of the ratio and of its square
            close = {"relative": 1e-9, "absolute": 1e-7 * expected.summary["massive_mean_ratio"]}
        assert same(row[name], value, **close), (name, row[name], value)


def _assert_top(top: pd.DataFrame, expected: SiteStatistics) -> None:
    assert list(top["rank"]) == list(range(len(expected.top)))
    for row, (value, place), ranks in zip(top.to_dict("records"), expected.top, token_ranks(expected.top), strict=True):
        assert (row["value"], (row["sample"], row["position"], row["channel"])) == (value, place)
        assert (row["token_rank"], row["rank_in_token"]) == ranks


def _assert_classes(classes: pd.DataFrame, expected: SiteStatistics) -> None:
    for row in classes.to_dict("records"):
        tokens, signed, place = expected.classes.get(row["token_class"], (0, None, None))
        assert row["tokens"] == tokens
        assert same(row["signed"], signed)
        assert same(row["abs_max"], None if signed is None else abs(signed))
        for name, number in zip(("sample", "position", "channel"), place or (None,) * 3, strict=True):
            assert same(row[name], number)
    assert set(expected.classes) <= set(classes.token_class)
