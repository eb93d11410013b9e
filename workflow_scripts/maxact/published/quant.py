"""A `quant/*_quant_sanity.json` and their summary: errors of an integer format at a site of a model.

Per-tensor symmetric integers: the scale is threshold / (2^(bits - 1) - 1), thresholds come from the first
`calibration_samples` of the file of samples and errors from the `eval_samples` after them (`quant_sanity_check.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maxact.published.document import Document, is_text
from maxact.published.names import policy as policy_name
from maxact.published.records import PublishedCheckpoint, QuantRun

KEYS = (
    *("model_name", "family", "role", "model_path", "data_path", "bits", "clip_quantile", "calibration_samples"),
    *("eval_samples", "max_seq_len", "layer_policy", "selected_layers", "reference_global_max_abs"),
    *("reference_global_max_location", "thresholds", "metrics"),
)
NUMBERS = ("count", "mae", "rmse", "rel_mae", "rel_rmse", "sqnr_db", "clip_rate")
MEANS = {
    "mean_rel_rmse": "rel_rmse",
    "mean_rel_mae": "rel_mae",
    "mean_clip_rate": "clip_rate",
    "mean_sqnr_db": "sqnr_db",
}
SUMMARY = ("model_name", "family", "role", "policy", "reference_global_max_abs", *MEANS, "layers")
_CLOSE = 1e-6


def read_run(document: Document, known: Mapping[str, PublishedCheckpoint]) -> QuantRun | None:
    """The run in the file; None where it cannot be told which model it is of, or how many bits it has."""
    if document.content is None or not document.mapping(document.content, ""):
        return None
    document.only(document.content, KEYS)
    name, bits = document.name("model_name"), document.count("bits", least=2, most=16)
    quantile = document.number(document.content, "clip_quantile", "clip_quantile")
    calibration, evaluation = document.count("calibration_samples"), document.count("eval_samples")
    if name is None or bits is None or quantile is None or calibration is None or evaluation is None:
        document.problem("", "left out, as a field that it cannot do without is missing")
        return None
    thresholds = _thresholds(document)
    selected = document.list(document.content.get("selected_layers"), "selected_layers")
    for at, site in enumerate(selected):
        if not is_text(site):
            document.problem(f"selected_layers[{at}]", "not a text")
    reference = document.number(document.content, "reference_global_max_abs", "reference_global_max_abs")
    document.text("layer_policy")
    run = QuantRun(
        name=name,
        family=document.text("family") or "",
        role=document.text("role") or "",
        bits=bits,
        clip_quantile=quantile,
        calibration_samples=calibration,
        evaluation_samples=evaluation,
        max_sequence_length=document.count("max_seq_len"),
        selected_layers=tuple(site for site in selected if is_text(site)),
        reference_maximum=reference,
        reference_location=document.text("reference_global_max_location") or "",
        thresholds=thresholds,
        metrics=tuple(_metrics(document, thresholds)),
        file=document.file,
    )
    _check_reference(document, run, known.get(name))
    return run


def read_summary(document: Document) -> tuple[Mapping[str, Any], ...]:
    """The rows of `quant_sanity_summary.json` that have all their fields."""
    rows = []
    for at, row in enumerate(document.list(document.content, "") if document.content is not None else ()):
        found = document.mapping(row, f"[{at}]")
        document.only(found, SUMMARY, f"[{at}]")
        numbers = {
            key: document.number(found, key, f"[{at}].{key}") for key in (*MEANS, "reference_global_max_abs", "layers")
        }
        if all(is_text(found.get(key)) for key in SUMMARY[:4]) and None not in numbers.values():
            rows.append({**{key: found[key] for key in SUMMARY[:4]}, **numbers})
        else:
            document.problem(f"[{at}]", "left out, as fields are missing")
    return tuple(rows)


def summary_contradictions(rows: Sequence[Mapping[str, Any]], runs: Sequence[QuantRun]) -> Iterator[tuple[str, str]]:
    """Rows that are not the means of the runs' own metrics, weighted by count as the authors do."""
    metrics = {
        (run.name, policy): [m for m in run.metrics if m["policy"] == policy]
        for run in runs
        for policy in run.thresholds
    }
    for at, row in enumerate(rows):
        key = (row["model_name"], row["policy"])
        found = metrics.pop(key, None)
        if not found:
            yield f"[{at}].model_name", f"no run of {key[0]} with policy {key[1]}"
            continue
        weight = sum(metric["count"] for metric in found)
        if weight <= 0:
            continue
        for mean, field in MEANS.items():
            expected = sum(metric[field] * metric["count"] for metric in found) / weight
            if not _close(row[mean], expected):
                yield f"[{at}].{mean}", f"{row[mean]:g}, but the run of {key[0]} gives {expected:g}"
    for name, policy in metrics:
        yield "", f"no row for {name} with policy {policy}"


def _thresholds(document: Document) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for policy, written in document.mapping(document.content.get("thresholds"), "thresholds").items():
        at = f"thresholds.{policy}"
        if not is_text(policy):
            document.problem(at, "a name that is no text; left out")
            continue
        by_site = document.mapping(written, at)
        read = {site: document.number(by_site, site, f"{at}.{site}") for site in by_site}
        found[policy] = {site: value for site, value in read.items() if value is not None}
        for site, value in found[policy].items():
            if value <= 0:
                document.problem(f"{at}.{site}", f"{value:g} is no threshold", "warning")
    return found


def _metrics(document: Document, thresholds: Mapping[str, Mapping[str, float]]) -> Iterator[Mapping[str, Any]]:
    """The metrics that have all their fields."""
    seen: dict[tuple[str, str], Mapping[str, Any]] = {}
    for at, written in enumerate(document.list(document.content.get("metrics"), "metrics")):
        field = f"metrics[{at}]"
        values = document.mapping(written, field)
        document.only(values, ("layer", "policy", *NUMBERS), field)
        numbers = {name: document.number(values, name, f"{field}.{name}") for name in NUMBERS[1:]}
        numbers["count"] = document.whole(values, "count", f"{field}.count")
        if not is_text(values.get("layer")) or not is_text(values.get("policy")) or None in numbers.values():
            document.problem(field, "left out, as fields are missing")
            continue
        key = (values["layer"], values["policy"])
        if key[0] not in thresholds.get(key[1], {}):
            document.problem(field, f"no threshold for {key[0]} with policy {key[1]}", "warning")
        if (key[0], policy_name(key[1])) in seen:
            document.problem(field, f"a second metric for {key[0]} with policy {policy_name(key[1])}; left out")
            continue
        row = {name: value for name, value in numbers.items() if value is not None}
        others = [found for (site, _), found in seen.items() if site == key[0]]
        seen[key[0], policy_name(key[1])] = row
        for name, what in (*_contradictions(row), *(_other_samples(row, others[0]) if others else ())):
            document.problem(f"{field}.{name}", what, "warning")
        yield {"layer": key[0], "policy": key[1], **row, "count": int(row["count"])}
    for policy, by_site in thresholds.items():
        for site in by_site:
            if (site, policy_name(policy)) not in seen:
                document.problem("metrics", f"none for {site} with policy {policy}, though there is a threshold")


def _contradictions(row: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Root mean squares are no less than means, a rate is part of 1, and sqnr_db is -20 log10 of rel_rmse."""
    if row["count"] < 1:
        yield "count", "not a whole number above 0 (0)"
    for name in ("mae", "rmse", "rel_mae", "rel_rmse"):
        if row[name] < 0:
            yield name, f"negative ({row[name]:g})"
    if not 0 <= row["clip_rate"] <= 1:
        yield "clip_rate", f"{row['clip_rate']:g} is no part of 1"
    if row["mae"] > row["rmse"] * (1 + _CLOSE):
        yield "mae", f"{row['mae']:g} is more than rmse {row['rmse']:g}"
    if row["rel_rmse"] > 0 and abs(row["sqnr_db"] + 20 * math.log10(row["rel_rmse"])) > 1e-4:
        yield "sqnr_db", f"{row['sqnr_db']:g}, but rel_rmse gives {-20 * math.log10(row['rel_rmse']):g}"


def _other_samples(row: Mapping[str, float], other: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Each policy sees the same elements, so that count, mean |x| and root mean square are the same."""
    if row["count"] != other["count"]:
        yield "count", f"{row['count']:.0f}, but {other['count']:.0f} with another policy"
    for error, relative, what in (("mae", "rel_mae", "mean |x|"), ("rmse", "rel_rmse", "root mean square")):
        values = [one[error] / one[relative] for one in (row, other) if one[relative] > 0]
        if len(values) == 2 and not _close(*values):
            yield relative, f"gives a {what} of {values[0]:g}, but another policy gives {values[1]:g}"


def _check_reference(document: Document, run: QuantRun, checkpoint: PublishedCheckpoint | None) -> None:
    """The run's model has statistics, lies in the family that it names, and had this maximum then."""
    if checkpoint is None:
        document.problem("model_name", f"no statistics of {run.name} in this folder", "warning")
        return
    if run.family and run.family != checkpoint.series:
        document.problem("family", f"{run.family}, but {checkpoint.file} is in {checkpoint.series}", "warning")
    maximum = checkpoint.global_maximum
    if maximum is not None and run.reference_maximum is not None and abs(maximum) != run.reference_maximum:
        what = f"{run.reference_maximum:g}, but {checkpoint.file} has {abs(maximum):g}"
        document.problem("reference_global_max_abs", what, "warning")
    if run.reference_location and run.reference_location != checkpoint.global_maximum_location:
        what = f"{run.reference_location!r}, but {checkpoint.file} has {checkpoint.global_maximum_location!r}"
        document.problem("reference_global_max_location", what, "warning")
    if sorted(run.selected_layers) != sorted({site for by_site in run.thresholds.values() for site in by_site}):
        document.problem("selected_layers", "are not the sites that have thresholds", "warning")
    for site in run.selected_layers:
        if site not in checkpoint.sites:
            document.problem("selected_layers", f"{site!r} is no site of {checkpoint.file}", "warning")


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(a), abs(b))
