"""What the errors of the INT-8 check can tell: those that are the tensor itself, and the samples that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maxact.published.audit.finding import Finding, Severity, code, names, ratio, table
from maxact.published.audit.quantization import longer_evaluation
from maxact.published.records import Published, QuantRun

SATURATED = 0.9
"""A relative error from here on is said to be nearly the tensor itself: all zeros give 1."""

ROUNDED = 0.5
"""Where half a step is less than this share of the error, most of it is not from rounding."""

MEASURES = {"rel_mae": "mae", "rel_rmse": "rmse"}
"""Relative errors, and the fields of the absolute ones; these by those are the mean |x|, and the root mean square."""


def saturated(published: Published) -> Finding | None:
    """Relative errors that are nearly those of all zeros, and so hardly differ between checkpoints."""
    every = [row for run in published.quant for row in _relative(run)]
    rows = [row for row in every if row["error"] >= SATURATED]
    if not rows:
        return None
    kinds = sorted({(row["measure"], row["policy"]) for row in rows})
    told = []
    for measure, policy in kinds:
        here = [row for row in rows if (row["measure"], row["policy"]) == (measure, policy)]
        total = sum((row["measure"], row["policy"]) == (measure, policy) for row in every)
        low, high = (bound(row["error"] for row in here) for bound in (min, max))
        told.append(f"{measure} at {policy} in {len(here)} of {total} ({low:.4g} to {high:.4g})")
    known = [row for row in rows if row["half_step_by_size"] is not None and row["half_step_by_error"] is not None]
    wide = [row["half_step_by_size"] for row in known if row["half_step_by_size"] > 1]
    clipped = sum(row["half_step_by_size"] <= 1 and row["half_step_by_error"] < ROUNDED for row in known)
    causes = []
    if wide:
        causes.append(
            f" In {len(wide)} of these half a step of the quantizer is larger than what the error is a share of (of rel_mae the "
            f"mean |x|, of rel_rmse the root mean square), up to {max(wide):.3g} times, so that elements of that size become 0."
        )
    if clipped:
        causes.append(
            f" In {clipped} it is not, and less than {ROUNDED:g} of the error, so that most of this is that of the few that are "
            "clipped: rounding errs by half a step at most."
        )
    return Finding(
        "saturated",
        "Errors that are the tensor itself",
        Severity.CONCLUSION,
        f"A quantizer that returns nothing but zeros has a relative error of 1. From {SATURATED:g} on are {'; '.join(told)}."
        f"{''.join(causes)} Such errors say that nothing is left, and not by how much one checkpoint is worse than another: "
        "their order, and a correlation of them with M, is that of the last digits.",
        f"metrics and thresholds; {code('quant_sanity_check.py', 'lines 281 to 317')}",
        table(rows),
    )


def _relative(run: QuantRun) -> Iterator[dict[str, Any]]:
    steps = 2 ** (run.bits - 1) - 1
    for metric in run.metrics:
        site, policy = metric["layer"], metric["policy"]
        threshold = run.thresholds.get(policy, {}).get(site)
        half = threshold / steps / 2 if threshold is not None and threshold > 0 else None
        for measure, error in MEASURES.items():
            size = ratio(metric[error], metric[measure])
            row = {"checkpoint": run.name, "site": site, "policy": policy, "measure": measure, "error": metric[measure]}
            row |= {"half_step": half, "size": size, "half_step_by_size": ratio(half, size)}
            yield row | {"half_step_by_error": ratio(half, metric[error])}


def shorter_limit(published: Published) -> Finding | None:
    """Runs that cut their samples shorter than the measurement of M did."""
    mean = {row["checkpoint"]: row["tokens_by_sample"] for row in longer_evaluation(published)}
    limits = {checkpoint.name: checkpoint.max_sequence_length for checkpoint in published.checkpoints}
    rows: list[dict[str, Any]] = []
    for run in published.quant:
        limit = limits.get(run.name)
        if run.max_sequence_length is not None and limit is not None and run.max_sequence_length < limit:
            row = {"checkpoint": run.name, "limit": run.max_sequence_length, "limit_of_M": limit}
            rows.append({**row, "mean_tokens": mean.get(run.name)})
    if not rows:
        return None
    longest = max((row["mean_tokens"] / row["limit"] for row in rows if row["mean_tokens"]), default=None)
    near = f" The mean length of the evaluated samples is up to {longest:.0%} of that limit." if longest else ""
    return Finding(
        "shorter_limit",
        "Errors of samples that are cut shorter",
        Severity.COSMETIC,
        f"Of {names([row['checkpoint'] for row in rows])} the INT-8 check cuts samples at fewer tokens than the measurement "
        f"of M.{near} The files do not tell whether a sample is longer than it.",
        "max_seq_len of runs and of checkpoints",
        table(rows),
    )
