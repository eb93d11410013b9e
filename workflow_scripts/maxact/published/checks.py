"""What the statistics of a site must satisfy, by their definitions: each for itself, and among themselves.

A check speaks only of fields that are there: one that is missing or not finite has a problem of its own. What no tensor can
have is no value (`impossible`); of values that contradict each other it is not known which is wrong (`contradictions`).
Tolerances: sums were accumulated in float64 and ratios kept in float32; quantiles were read off 512 bins of log10 |x| in -8
to 8, so that they are right to the width of a bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

COUNTS = {"count": 1, "sun_n_tokens": 1, "sun_n_pass": 0, "abs_hist_count": 1}
"""Whole numbers, and the least that each can be: what is none has been refused before checks see it."""

OF_M = (*MOMENTS, *MASSIVE, *QUANTILES, "abs_hist_count", "abs_hist_zero_frac")
"""Sites that M ranges over have all of them."""

BIN = 10 ** (16 / 512)
"""Upper edge of a bin of their histogram by its lower edge."""

NEVER_NEGATIVE = ("std", "abs_mean", "rms", *QUANTILES, *(name for name in MASSIVE if name not in COUNTS))

_CLOSE = 1e-5


@dataclass(frozen=True)
class Contradiction:
    """A field that contradicts others of its site.

    Attributes:
        largest: what the field tells of the largest |x| of the site, where max and min tell another; else None.
    """

    field: str
    what: str
    largest: float | None = None


def fields_of(site: str) -> tuple[str, ...]:
    """The statistics that a site of that name has."""
    found = component_and_layer(site)
    return OF_M if found is not None and found[0] in IN_M else MOMENTS


def impossible(values: Mapping[str, float]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Fields that no tensor can have, those of one fault together, with what is wrong with the first of them."""
    for field in NEVER_NEGATIVE:
        if values.get(field, 0.0) < 0:
            yield (field,), f"negative ({values[field]:g})"
    if not 0 <= values.get("abs_hist_zero_frac", 0.0) <= 1:
        yield ("abs_hist_zero_frac",), f"{values['abs_hist_zero_frac']:g} is no part of 1"
    if {"max", "min"} <= values.keys() and values["max"] < values["min"]:
        yield ("max", "min"), f"{values['max']:g} is less than min {values['min']:g}; neither is used"


def contradictions(values: Mapping[str, float], hidden_size: int | None) -> Iterator[Contradiction]:
    """What of a site contradicts the rest of it; `impossible` values are not among them."""
    yield from _moments(values)
    yield from _extremes(values)
    if "sun_n_tokens" in values:
        yield from _counts(values, hidden_size)
        yield from _ratios(values)
    yield from _quantiles(values)


def peak(values: Mapping[str, float]) -> float | None:
    """The largest |x| of a site; None where the file does not tell."""
    return max(abs(values["max"]), abs(values["min"])) if {"max", "min"} <= values.keys() else None


def _moments(x: Mapping[str, float]) -> Iterator[Contradiction]:
    if {"mean", "std", "rms"} <= x.keys() and not _close(x["rms"], math.hypot(x["mean"], x["std"])):
        yield Contradiction("rms", f"{x['rms']:g}, but mean and std give {math.hypot(x['mean'], x['std']):g}")
    if {"abs_mean", "rms"} <= x.keys() and x["abs_mean"] > x["rms"] * (1 + _CLOSE):
        yield Contradiction("abs_mean", f"{x['abs_mean']:g} is more than rms {x['rms']:g}")


def _extremes(x: Mapping[str, float]) -> Iterator[Contradiction]:
    """Moments that max and min do not allow. A standard deviation is at most half of what lies between them."""
    largest = peak(x)
    if largest is None:
        return
    if "mean" in x and not _within(x["mean"], x["min"], x["max"]):
        what = f"{x['mean']:g} is not between min {x['min']:g} and max {x['max']:g}"
        yield Contradiction("mean", what, abs(x["mean"]))
    for field in ("abs_mean", "rms"):
        if x.get(field, 0.0) > largest * (1 + _CLOSE):
            yield Contradiction(field, f"{x[field]:g} is more than the largest |x| {largest:g}", x[field])
    if x.get("std", 0.0) > (x["max"] - x["min"]) / 2 + _CLOSE * largest:
        what = f"{x['std']:g} is more than half of what lies between min {x['min']:g} and max {x['max']:g}"
        yield Contradiction("std", what, x["std"])
    if {"rms", "count"} <= x.keys():
        most = x["rms"] * math.sqrt(x["count"])
        if largest > most * (1 + _CLOSE):
            what = f"{x['rms']:g}, but the largest |x| {largest:g} alone gives more over {x['count']:.0f} elements"
            yield Contradiction("rms", what, most)


def _counts(x: Mapping[str, float], hidden_size: int | None) -> Iterator[Contradiction]:
    tokens = x["sun_n_tokens"]
    if hidden_size and "count" in x and x["count"] != tokens * hidden_size:
        what = f"{x['count']:.0f}, but sun_n_tokens {tokens:.0f} times hidden_size {hidden_size} is another number"
        yield Contradiction("count", what)
    if {"abs_hist_count", "count"} <= x.keys() and x["abs_hist_count"] != x["count"]:
        yield Contradiction("abs_hist_count", f"{x['abs_hist_count']:.0f}, but count is {x['count']:.0f}")


def _ratios(x: Mapping[str, float]) -> Iterator[Contradiction]:
    largest, at_peak, most = peak(x), x.get("sun_peak_abs"), x.get("sun_max_ratio")
    if largest is not None and at_peak is not None and at_peak != largest:
        yield Contradiction("sun_peak_abs", f"{at_peak:g}, but max and min give {largest:g}", at_peak)
    for ratio, top, median in (
        ("sun_peak_token_ratio", "sun_peak_abs", "sun_peak_token_median"),
        ("sun_max_ratio", "sun_max_ratio_abs", "sun_max_ratio_median"),
    ):
        if {ratio, top, median} <= x.keys() and x[median] > 0 and not _close(x[ratio], x[top] / x[median]):
            yield Contradiction(ratio, f"{x[ratio]:g}, but {top} by {median} is {x[top] / x[median]:g}")
    beyond = x.get("sun_max_ratio_abs", 0.0)
    if largest is not None and beyond > largest:
        yield Contradiction("sun_max_ratio_abs", f"{beyond:g} is more than the largest |x| {largest:g}", beyond)
    if most is None:
        return
    for field in ("sun_peak_token_ratio", "sun_mean_ratio"):
        if field in x and x[field] > most * (1 + _CLOSE):
            yield Contradiction(field, f"{x[field]:g} is more than sun_max_ratio {most:g}")
    yield from _passing(x, largest, most)


def _passing(x: Mapping[str, float], largest: float | None, most: float) -> Iterator[Contradiction]:
    """The token of the largest ratio counts where it passes; ratios are positive, so their mean bounds how many pass."""
    if not {"sun_n_pass", "sun_t_val", "sun_t_ratio"} <= x.keys():
        return
    passed = f"{x['sun_n_pass']:.0f} tokens pass"
    small = largest is not None and largest <= x["sun_t_val"]
    if x["sun_n_pass"] > 0 and (small or most <= x["sun_t_ratio"]):
        what = f"{passed}, but nothing is beyond sun_t_val and sun_t_ratio"
        yield Contradiction("sun_n_pass", what, x["sun_t_val"] if small else None)
    if x["sun_n_pass"] == 0 and most > x["sun_t_ratio"] and x.get("sun_max_ratio_abs", 0.0) > x["sun_t_val"]:
        yield Contradiction("sun_n_pass", "no token passes, but that of sun_max_ratio does")
    allowed = x.get("sun_mean_ratio", math.inf) * x["sun_n_tokens"]
    if x["sun_n_pass"] * x["sun_t_ratio"] > allowed * (1 + _CLOSE):
        yield Contradiction("sun_n_pass", f"{passed}, more than sun_mean_ratio {x['sun_mean_ratio']:g} allows")


def _quantiles(x: Mapping[str, float]) -> Iterator[Contradiction]:
    present = [field for field in QUANTILES if field in x]
    for lower, upper in pairwise(present):
        if x[lower] > x[upper]:
            yield Contradiction(upper, f"{x[upper]:g} is less than {lower} {x[lower]:g}")
    largest = peak(x)
    if present and largest is not None:
        field = max(reversed(present), key=lambda name: x[name])
        if x[field] > largest * BIN:
            yield Contradiction(field, f"{x[field]:g} is more than the largest |x| {largest:g}", x[field])


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(a), abs(b))


def _within(x: float, low: float, high: float) -> bool:
    slack = _CLOSE * max(abs(low), abs(high))
    return low - slack <= x <= high + slack
