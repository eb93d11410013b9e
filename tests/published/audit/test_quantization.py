"""Thresholds and errors of the INT-8 check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maxact.published.audit import errors, quantization
from maxact.published.audit.pages import to_json
from maxact.published.document import Document
from maxact.published.files import Published
from maxact.published.quant import read_run
from maxact.store.objects import canonical
from published.audit.faults import (
    A,
    B,
    Files,
    of,
    put_coarse,
    put_saturated,
    put_shorter,
    quant,
    scale,
    what,
    without_fault,
)
from published.test_damage import HOSTILE

OF_RUNS = (
    *(errors.saturated, errors.shorter_limit, quantization.coarse_thresholds),
    *(quantization.beyond_calibration, quantization.other_components),
)
"""The checks of the runs of the INT-8 check."""


def test_the_true_quantile_is_bounded_by_its_bin(read: Callable[..., Published]) -> None:
    finding = quantization.coarse_thresholds(read(lambda f: put_coarse(f, A)))
    assert finding is not None
    row = finding.rows.iloc[0]
    assert (row["bin"], row.largest) == (1, 512.0)
    assert (row.quantile_from, row.quantile_below) == (512 / 2047, 2 * 512 / 2047)
    assert row.expected == pytest.approx(0.1)
    beyond = {"clip_q0.9": {"layer_1_hidden": 512 * 3 / 2047}}
    assert quantization.coarse_thresholds(read(lambda f: quant(f, A)["thresholds"].update(beyond))) is None


def test_an_error_that_is_the_tensor_itself_is_told_with_its_cause(read: Callable[..., Published]) -> None:
    finding = errors.saturated(read(lambda f: put_saturated(f, A)))
    assert finding is not None
    (row,) = of(finding, measure="rel_mae")
    run = quant(without_fault(), A)
    metric = next(metric for metric in run["metrics"] if metric["policy"] == "max_abs")
    assert (row["checkpoint"], row["measure"], row["error"]) == (A, "rel_mae", pytest.approx(0.97))
    assert row["half_step"] == pytest.approx(512 / 127 / 2)
    assert row["size"] == pytest.approx(metric["mae"] / metric["rel_mae"])
    assert row["half_step_by_size"] == row["half_step"] / row["size"]
    (other,) = of(finding, measure="rel_rmse")
    assert other["size"] == pytest.approx(metric["rmse"] / metric["rel_rmse"])  # the root mean square, and larger
    assert other["half_step_by_size"] == other["half_step"] / other["size"] < row["half_step_by_size"]
    assert "rel_mae at max_abs in 1 of 3 (0.97 to 0.97)" in finding.what
    assert "In 2 of these half a step of the quantizer is larger than what the error is a share of" in finding.what
    assert "clipped" not in finding.what


def test_an_error_of_what_is_clipped_alone_is_told_as_such(read: Callable[..., Published]) -> None:
    def clipped(files: Files) -> None:
        run = quant(files, B)
        metric = next(metric for metric in run["metrics"] if metric["policy"] == "clip_q0.9")
        scale(metric, "rel_rmse", 0.95)

    finding = errors.saturated(read(clipped))
    assert "rel_rmse at clip_q0.9 in 1 of 3" in what(finding)
    assert (
        "In 1 it is not, and less than 0.5 of the error, so that most of this is that of the few that are clipped"
        in what(finding)
    )
    assert "become 0" not in what(finding)


def test_an_error_that_rounding_can_give_is_not_said_to_be_that_of_clipping(read: Callable[..., Published]) -> None:
    """Half a step is 0.7 of the mean |x|, and as much of the error: nothing need be clipped."""

    def rounded(files: Files) -> None:
        run = quant(files, B)
        metric = next(metric for metric in run["metrics"] if metric["policy"] == "clip_q0.9")
        other = metric.copy()
        scale(metric, "rel_mae", 0.95)
        metric |= {name: other[name] for name in ("rmse", "rel_rmse", "sqnr_db")}
        mean = metric["mae"] / metric["rel_mae"]
        run["thresholds"]["clip_q0.9"][metric["layer"]] = 2 * 127 * 0.7 * mean

    finding = errors.saturated(read(rounded))
    (row,) = of(finding, policy="clip_q0.9", measure="rel_mae")  # type: ignore[arg-type]
    assert (row["half_step_by_size"], row["half_step_by_error"]) == (pytest.approx(0.7), pytest.approx(0.7 / 0.95))
    assert "clipped" not in what(finding)


def test_how_near_samples_come_to_a_shorter_limit_is_told(read: Callable[..., Published]) -> None:
    finding = errors.shorter_limit(read(lambda f: put_shorter(f, A)))
    assert finding is not None
    assert of(finding) == [{"checkpoint": A, "limit": 4, "limit_of_M": 8, "mean_tokens": 8.0}]
    assert "up to 200% of that limit" in finding.what


def test_no_error_is_said_to_be_of_clipping_where_the_error_itself_is_not_known(
    read: Callable[..., Published],
) -> None:
    """The reader keeps such contradictions, with a warning."""

    def contradicts(files: Files) -> None:
        for run, value in ((quant(files, A), 0.0), (quant(files, B), -1.0)):
            run["metrics"][0] |= {"rel_rmse": 0.95, "rmse": value}

    finding = errors.saturated(read(contradicts))
    assert [row["half_step_by_size"] for row in of(finding)] == [None, None]  # type: ignore[arg-type]
    assert "clipped" not in what(finding)


def test_a_threshold_below_zero_is_in_no_bin(read: Callable[..., Published]) -> None:
    def below(files: Files) -> None:
        quant(files, A)["thresholds"]["clip_q0.9"]["layer_1_hidden"] = -512.0

    assert quantization.coarse_thresholds(read(below)) is None


def numbers(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where a file has a number."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from [(value, key)] if isinstance(inner, int | float) else numbers(inner)


def test_any_number_in_a_run_of_saturated_errors_gives_findings_and_no_traceback(
    read: Callable[..., Published], tmp_path: Path
) -> None:
    published, file = read(), tmp_path / "small-1b_quant_sanity.json"
    run = quant(without_fault(), A)
    for metric in run["metrics"]:
        metric |= {"rel_mae": 0.95, "rel_rmse": 0.95}
    for holder, key in numbers(run):
        kept = holder[key]
        for value in HOSTILE:
            holder[key] = value
            file.write_text(json.dumps(run), encoding="utf-8")
            found = read_run(Document(tmp_path, file, []), {})
            one = replace(published, quant=(found,) if found else ())
            canonical(to_json([finding for check in OF_RUNS if (finding := check(one)) is not None], []))
        holder[key] = kept
