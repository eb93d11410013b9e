"""The INT-8 check: thresholds, what they were calibrated on, and what is compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from maxact.published.audit.finding import Finding, M_of, Severity, code, kind_of, names, ratio, table
from maxact.published.checks import peak
from maxact.published.records import Published, QuantRun, tokens_of
from maxact.results.correlation import spearman

BINS = 2048
"""Of the histogram from 0 to the largest |x| of the calibration samples (quant_sanity_check.py, --hist_bins)."""

FEW = 2
"""A threshold in a bin up to this one is said to be no quantile."""

ON_GRID = 1e-6
"""How near to a whole number the bin of a threshold is, relative to the number."""

MAX = "max_abs"

OWN_QUANTILES = {0.99: "abs_q99", 0.999: "abs_q999"}
"""Read off 512 bins of log10 |x|, over all samples."""


def coarse_thresholds(published: Published) -> Finding | None:
    """Clip thresholds that are the lower edge of one of the first bins of the linear histogram."""
    rows = [row for run in published.quant for row in _coarse(run, published)]
    if not rows:
        return None
    inside = sum(
        row["quantile_from"] <= row["own_quantile"] < row["quantile_below"] for row in rows if row["own_quantile"]
    )
    most = max((row["clipped_by_expected"] or 0.0 for row in rows), default=0.0)
    return Finding(
        "coarse_thresholds",
        "Clip thresholds that are no quantile",
        Severity.NUMBER,
        f"{len(rows)} thresholds are the lower edge of one of bins 0 to {FEW} of {BINS:,} equal bins up to the largest |x|. "
        "The true quantile is anywhere in that bin, so up to its upper edge, and a threshold of bin 0 is 0, for which no "
        f"error is reported. Their own histogram of log10 |x|, over all samples, has the quantile in that bin in {inside} "
        f"of {len(rows)} cases. More is clipped than the quantile says, up to {most:.2g} times as much: part of the error "
        "of clipping is that of the histogram.",
        f"thresholds, by the largest |x| over {BINS - 1}; {code('quant_sanity_check.py', 'lines 237 and 242 to 253')}",
        table(rows),
    )


def _coarse(run: QuantRun, published: Published) -> Iterator[dict[str, Any]]:
    largest = run.thresholds.get(MAX, {})
    for policy, thresholds in run.thresholds.items():
        for site, threshold in thresholds.items():
            if policy == MAX or largest.get(site, 0.0) <= 0:
                continue
            at = threshold / largest[site] * (BINS - 1)
            if not 0 <= at < FEW + 0.5 or abs(at - round(at)) > ON_GRID * max(1.0, at):
                continue
            edge = largest[site] / (BINS - 1)
            row = {"checkpoint": run.name, "site": site, "policy": policy, "largest": largest[site], "bin": round(at)}
            row |= {"quantile_from": threshold, "quantile_below": (round(at) + 1) * edge}
            row |= {
                "own_quantile": _own(published, run, site),
                "clipped": (clipped := _metric(run, site, policy, "clip_rate")),
            }
            expected = 1 - run.clip_quantile
            yield row | {"expected": expected, "clipped_by_expected": ratio(clipped, expected)}


def _own(published: Published, run: QuantRun, site: str) -> float | None:
    """The same quantile from the histogram of the checkpoint's own file."""
    field = OWN_QUANTILES.get(round(run.clip_quantile, 6))
    found = [checkpoint for checkpoint in published.checkpoints if checkpoint.name == run.name]
    return found[0].sites.get(site, {}).get(field) if found and field else None


def _metric(run: QuantRun, site: str, policy: str, name: str) -> float | None:
    found = [
        metric.get(name) for metric in run.metrics if metric.get("layer") == site and metric.get("policy") == policy
    ]
    return float(found[0]) if found and found[0] is not None else None


def beyond_calibration(published: Published) -> Finding | None:
    """Runs whose calibration samples do not hold the largest |x| of the site."""
    rows: list[dict[str, Any]] = []
    for run in published.quant:
        checkpoint = next((one for one in published.checkpoints if one.name == run.name), None)
        for site, threshold in run.thresholds.get(MAX, {}).items():
            largest = peak(checkpoint.sites.get(site, {})) if checkpoint is not None else None
            clipped = _metric(run, site, MAX, "clip_rate") or 0.0
            if clipped > 0 or (largest is not None and threshold < largest):
                row = {"checkpoint": run.name, "site": site, "calibration_largest": threshold, "largest": largest}
                rows.append({**row, "largest_by_it": ratio(largest, threshold), "clipped": clipped})
    if not rows:
        return None
    clipping = [row["checkpoint"] for row in rows if row["clipped"] > 0]
    factor = max((row["largest_by_it"] or 1.0 for row in rows), default=1.0)
    return Finding(
        "beyond_calibration",
        "The largest |x| is not in the calibration samples",
        Severity.NUMBER,
        f"The threshold max_abs is the largest |x| of the calibration samples. That of all samples is up to {factor:.3g} "
        f"times as large, and of {len(clipping)} checkpoints ({names(clipping) or 'none'}) some evaluation samples are "
        "clipped by it too. The error with that threshold is not the error at M.",
        f"thresholds.{MAX} against max and min of the site; clip_rate; "
        f"{code('quant_sanity_check.py', 'lines 281 to 317 and 398 to 424')}",
        table(rows),
    )


def other_components(published: Published) -> Finding | None:
    """Runs at another component than most: their errors are beside errors of other tensors."""
    kinds = Counter(kind_of(site) for run in published.quant for site in run.selected_layers)
    if len(kinds) < 2:
        return None
    usual = kinds.most_common(1)[0][0]
    rows: list[dict[str, Any]] = []
    for run in published.quant:
        for site in run.selected_layers:
            if kind_of(site) != usual:
                row = {"checkpoint": run.name, "site": site, "others": usual, "M": run.reference_maximum}
                rows.append({**row, "rel_rmse": _metric(run, site, MAX, "rel_rmse")})
    every, alike = _correlation(published, None), _correlation(published, usual)
    return Finding(
        "other_components",
        "INT-8 errors of different components side by side",
        Severity.CONCLUSION,
        f"Of {names([row['checkpoint'] for row in rows])} the error is of another component than of the other checkpoints "
        f"({usual}), as it is taken where M is. The rank correlation of M with the relative RMSE at max_abs is {every} over "
        f"all, and {alike} over those of one component.",
        f"selected_layers, metrics; {code('quant_sanity_check.py', 'lines 147 to 169')}",
        table(rows),
    )


def _correlation(published: Published, kind: str | None) -> str:
    points = [
        (run.reference_maximum, error)
        for run in published.quant
        for site in run.selected_layers
        if kind in (None, kind_of(site))
        and run.reference_maximum is not None
        and (error := _metric(run, site, MAX, "rel_rmse")) is not None
    ]
    if len(points) < 3:
        return "not told by fewer than three"
    found = spearman(*np.array(points, np.float64).T)
    return "not defined" if math.isnan(found) else f"{found:+.2f}"


def longer_evaluation(published: Published) -> list[dict[str, Any]]:
    """Tokens by sample in the evaluation of a run, beside those of all samples of its checkpoint."""
    rows: list[dict[str, Any]] = []
    for run in published.quant:
        checkpoint = next((one for one in published.checkpoints if one.name == run.name), None)
        tokens = tokens_of(checkpoint) if checkpoint is not None else None
        counts = [float(metric["count"]) for metric in run.metrics if metric.get("count")]
        if checkpoint is None or tokens is None or not counts or not run.evaluation_samples:
            continue
        seen = counts[0] / checkpoint.hidden_size / run.evaluation_samples
        row = {"checkpoint": run.name, "samples": run.evaluation_samples, "tokens_by_sample": seen}
        rows.append({**row, "tokens_by_sample_of_all": tokens / checkpoint.samples, "M": M_of(checkpoint)})
    return rows
