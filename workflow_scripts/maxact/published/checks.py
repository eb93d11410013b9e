"""What the statistics of a site must satisfy among themselves, by their definitions.

A check speaks only of fields that are there: one that is missing or not finite has a problem of its own. Tolerances: sums were
accumulated in float64 and ratios kept in float32; quantiles were read off 512 bins of log10 |x| in -8 to 8, so that they
are right to the width of a bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from maxact.published.names import IN_M, component_and_layer

MOMENTS = ("mean", "std", "abs_mean", "rms", "max", "min", "count")
"""Every site has them."""

QUANTILES = ("abs_q25", "abs_median", "abs_q75", "abs_q90", "abs_q99", "abs_q999")
"""In ascending order."""

MASSIVE = (
    *("sun_peak_abs", "sun_peak_token_median", "sun_peak_token_ratio"),
    *("sun_max_ratio", "sun_max_ratio_abs", "sun_max_ratio_median", "sun_mean_ratio", "sun_std_ratio"),
    *("sun_n_tokens", "sun_n_pass", "sun_t_val", "sun_t_ratio"),
)

COUNTS = ("count", "sun_n_tokens", "sun_n_pass", "abs_hist_count")
"""Whole numbers: what is none has been refused before checks see it."""

OF_M = (*MOMENTS, *MASSIVE, *QUANTILES, "abs_hist_count", "abs_hist_zero_frac")
"""Sites that M ranges over have all of them."""

BIN = 10 ** (16 / 512)
"""Upper edge of a bin of their histogram by its lower edge."""

_CLOSE = 1e-5


def fields_of(site: str) -> tuple[str, ...]:
    """The statistics that a site of that name has."""
    found = component_and_layer(site)
    return OF_M if found is not None and found[0] in IN_M else MOMENTS


def contradictions(values: Mapping[str, float], hidden_size: int | None) -> Iterator[tuple[str, str]]:
    """Fields that contradict others of the same site, each with what is wrong."""
    yield from _moments(values)
    if "sun_n_tokens" in values:
        yield from _counts(values, hidden_size)
        yield from _ratios(values)
    yield from _quantiles(values)


def peak(values: Mapping[str, float]) -> float | None:
    """The largest |x| of a site; None where the file does not tell."""
    return max(abs(values["max"]), abs(values["min"])) if {"max", "min"} <= values.keys() else None


def _moments(x: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for field in ("std", "abs_mean", "rms"):
        if x.get(field, 0.0) < 0:
            yield field, f"negative ({x[field]:g})"
    if x.get("count", 1.0) < 1:
        yield "count", "not a whole number above 0 (0)"
    if "max" in x and "min" in x:
        if x["max"] < x["min"]:
            yield "max", f"{x['max']:g} is less than min {x['min']:g}"
        elif "mean" in x and not _within(x["mean"], x["min"], x["max"]):
            yield "mean", f"{x['mean']:g} is not between min {x['min']:g} and max {x['max']:g}"
        largest = max(abs(x["max"]), abs(x["min"]))
        for field in ("abs_mean", "rms"):
            if x.get(field, 0.0) > largest * (1 + _CLOSE):
                yield field, f"{x[field]:g} is more than the largest |x| {largest:g}"
        if {"rms", "count"} <= x.keys() and largest > x["rms"] * math.sqrt(x["count"]) * (1 + _CLOSE):
            yield (
                "rms",
                f"{x['rms']:g}, but the largest |x| {largest:g} alone gives more over {x['count']:.0f} elements",
            )
    if {"mean", "std", "rms"} <= x.keys() and not _close(x["rms"], math.hypot(x["mean"], x["std"])):
        yield "rms", f"{x['rms']:g}, but mean and std give {math.hypot(x['mean'], x['std']):g}"
    if {"abs_mean", "rms"} <= x.keys() and x["abs_mean"] > x["rms"] * (1 + _CLOSE):
        yield "abs_mean", f"{x['abs_mean']:g} is more than rms {x['rms']:g}"


def _counts(x: Mapping[str, float], hidden_size: int | None) -> Iterator[tuple[str, str]]:
    tokens = x["sun_n_tokens"]
    if tokens < 1:
        yield "sun_n_tokens", "not a whole number above 0 (0)"
    if hidden_size and "count" in x and x["count"] != tokens * hidden_size:
        yield (
            "count",
            f"{x['count']:.0f}, but sun_n_tokens {tokens:.0f} times hidden_size {hidden_size} is another number",
        )
    if {"abs_hist_count", "count"} <= x.keys() and x["abs_hist_count"] != x["count"]:
        yield "abs_hist_count", f"{x['abs_hist_count']:.0f}, but count is {x['count']:.0f}"
    if not 0 <= x.get("abs_hist_zero_frac", 0.0) <= 1:
        yield "abs_hist_zero_frac", f"{x['abs_hist_zero_frac']:g} is no part of 1"


def _ratios(x: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    largest, at_peak, most = peak(x), x.get("sun_peak_abs"), x.get("sun_max_ratio")
    if largest is not None and at_peak is not None and at_peak != largest:
        yield "sun_peak_abs", f"{at_peak:g}, but max and min give {largest:g}"
    for ratio, top, median in (
        ("sun_peak_token_ratio", "sun_peak_abs", "sun_peak_token_median"),
        ("sun_max_ratio", "sun_max_ratio_abs", "sun_max_ratio_median"),
    ):
        if {ratio, top, median} <= x.keys() and x[median] > 0 and not _close(x[ratio], x[top] / x[median]):
            yield ratio, f"{x[ratio]:g}, but {top} by {median} is {x[top] / x[median]:g}"
    if largest is not None and x.get("sun_max_ratio_abs", 0.0) > largest:
        yield "sun_max_ratio_abs", f"{x['sun_max_ratio_abs']:g} is more than the largest |x| {largest:g}"
    if most is None:
        return
    for field in ("sun_peak_token_ratio", "sun_mean_ratio"):
        if field in x and x[field] > most * (1 + _CLOSE):
            yield field, f"{x[field]:g} is more than sun_max_ratio {most:g}"
    beyond = most > x.get("sun_t_ratio", 0.0) and (largest is None or largest > x.get("sun_t_val", 0.0))
    if x.get("sun_n_pass", 0.0) > 0 and not beyond:
        yield "sun_n_pass", f"{x['sun_n_pass']:.0f} tokens pass, but nothing is beyond sun_t_val and sun_t_ratio"
    yield from _passing(x)


def _passing(x: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The token of the largest ratio counts where it passes; ratios are positive, so their mean bounds how many pass."""
    if not {"sun_n_pass", "sun_n_tokens", "sun_t_val", "sun_t_ratio"} <= x.keys():
        return
    passes = x.get("sun_max_ratio", 0.0) > x["sun_t_ratio"] and x.get("sun_max_ratio_abs", 0.0) > x["sun_t_val"]
    if passes and x["sun_n_pass"] == 0:
        yield "sun_n_pass", "no token passes, but that of sun_max_ratio does"
    most = x.get("sun_mean_ratio", math.inf) * x["sun_n_tokens"]
    if x["sun_n_pass"] * x["sun_t_ratio"] > most * (1 + _CLOSE):
        yield (
            "sun_n_pass",
            f"{x['sun_n_pass']:.0f} tokens pass, more than sun_mean_ratio {x['sun_mean_ratio']:g} allows",
        )


def _quantiles(x: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    present = [field for field in QUANTILES if field in x]
    for lower, upper in pairwise(present):
        if x[lower] > x[upper]:
            yield upper, f"{x[upper]:g} is less than {lower} {x[lower]:g}"
    largest = peak(x)
    if present and largest is not None and x[present[-1]] > largest * BIN:
        yield present[-1], f"{x[present[-1]]:g} is more than the largest |x| {largest:g}"


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(a), abs(b))


def _within(x: float, low: float, high: float) -> bool:
    slack = _CLOSE * max(abs(low), abs(high))
    return low - slack <= x <= high + slack
