"""Subsets of the samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from maxact.published.audit import readings, subsets
from maxact.published.audit.finding import Severity
from maxact.published.files import Published
from published.audit.faults import A, B, Files, of, runs, statistics, told, what


def test_subsets_that_two_checkpoints_share_are_told(read: Callable[..., Published]) -> None:
    def change(files: Files) -> None:
        for path in [path for path in files if path.startswith("bootstrap/") and A in path]:
            other = path.replace(A, "small-14b").replace("_r2_", "_r7_").replace("_r0_", "_r7_")
            files[other] = {**json.loads(json.dumps(files[path])), "model_name": "small-14b"}
            files[other.replace("_r7_", "_r8_")] = files[other]
            files[path.replace("_r2_", "_r7_").replace("_r0_", "_r7_")] = files[path]
            files[path.replace("_r2_", "_r8_").replace("_r0_", "_r8_")] = files.pop(path)

    assert f"small-14b, {A}" in told(subsets.same_subsets(read(change)))


def test_subsets_with_M_and_above_it_are_counted_apart(read: Callable[..., Published]) -> None:
    def change(files: Files, *sizes: float) -> None:
        for run, size in zip(runs(files, B), sizes, strict=True):
            run["per_layer_stats"]["layer_1_hidden"].update(max=size, sun_peak_abs=size)

    finding = subsets.rarely_reached(read(lambda f: change(f, 4096.0, 1024.0)))
    assert (
        f"reached in {len(read().bootstrap) - 2} of 4 subsets and exceeded in 1; the others are up to 50.0% lower"
        in what(finding)
    )
    assert finding is not None
    assert finding.severity == Severity.NUMBER
    assert of(finding)[0]["reach_M"] == 0
    assert subsets.rarely_reached(read(lambda f: change(f, 4096.0, 2048.0))) is None  # none is below


def test_whether_a_subset_is_larger_than_the_whole_is_computed(read: Callable[..., Published]) -> None:
    def told_of(*changes: Callable[[Files], Any]) -> str:
        return what(next(found for found in readings(read(*changes)) if found.name == "without_replacement"))

    assert "No subset is larger than the whole" in told_of()
    assert "2 subsets are larger than the whole" in told_of(lambda f: statistics(f, B).update(num_samples=1))


def test_a_range_is_no_deviation(read: Callable[..., Published]) -> None:
    def scatter(files: Files) -> None:
        for at, run in enumerate(runs(files, B)):
            run["per_layer_stats"]["layer_1_hidden"].update(max=2048.0 * (at + 1) / 2)
            run["num_samples"] = 2
        for path in [path for path in files if path.startswith("bootstrap/") and B in path]:
            files[path.replace("_s4_", "_s2_").replace("_r0_", f"_r{len(path)}{path.count('4')}_")] = files.pop(path)

    rows = [row for row in subsets.spread(read(scatter)) if row["checkpoint"] == B]
    assert sum(row["runs"] for row in rows) == 2
    for row in rows:
        if row["runs"] == 2:
            assert row["range_by_mean"] == pytest.approx(2 * 1024 / 3072)
            assert row["deviation_by_mean"] == pytest.approx(2**-0.5 * 1024 / 1536)
