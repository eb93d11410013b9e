"""Each check of the audit: silent on good files, and where its fault is put into a checkpoint, found there and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from maxact.errors import UserError
from maxact.published.audit import (
    CHECKS,
    audit,
    coverage,
    errors,
    maxima,
    quantization,
    readings,
    routers,
    series,
    subsets,
    values,
)
from maxact.published.audit.faults import faults_of_files
from maxact.published.audit.finding import Finding
from maxact.published.audit.pages import page, to_json
from maxact.published.files import Published
from maxact.results.pages import page_to_markdown
from maxact.store.objects import canonical
from published.audit import faults
from published.audit.faults import A, B, Files, renamed, told

FAULTS: dict[str, tuple[Callable[[Published], Finding | None], Callable[[Files, str], None]]] = {
    "probabilities": (routers.router_outputs, faults.put_probabilities),
    "indices": (routers.router_outputs, faults.put_indices),
    "padding": (routers.padding_counted, faults.put_padding),
    "series": (series.mixed_series, faults.put_series),
    "tie": (maxima.ties, faults.put_tie),
    "sign": (maxima.emergence_by_sign, faults.put_sign),
    "both signs": (maxima.sign_tied, faults.put_both_signs),
    "component": (quantization.other_components, faults.put_component),
    "vision": (coverage.text_alone, faults.put_vision),
    "no gate": (coverage.gates_missing, faults.put_no_gate),
    "rare": (subsets.rarely_reached, faults.put_rare),
    "copy": (series.copies, faults.put_copy),
    "samples": (coverage.other_tokens, faults.put_samples),
    "twice": (coverage.counted_twice, faults.put_twice),
    "layer": (coverage.layers_beyond, faults.put_layer),
    "coarse": (quantization.coarse_thresholds, faults.put_coarse),
    "calibration": (quantization.beyond_calibration, faults.put_calibration),
    "above": (subsets.above_whole, faults.put_above),
    "longer tail": (values.top_lists, faults.put_longer_tail),
    "elsewhere": (maxima.elsewhere, faults.put_elsewhere),
    "common": (maxima.common_massive, faults.put_common),
    "gate": (maxima.gates_above, faults.put_gate),
    "dtype": (values.other_dtype, faults.put_dtype),
    "fault": (faults_of_files, faults.put_fault),
    "saturated": (errors.saturated, faults.put_saturated),
    "shorter": (errors.shorter_limit, faults.put_shorter),
    "limit": (coverage.limit_unreached, faults.put_limit),
    "path": (series.local_paths, faults.put_path),
}


def test_good_files_have_no_finding(read: Callable[..., Published]) -> None:
    assert [finding.name for finding in audit(read())] == []
    assert [finding.name for finding in audit(read(renamed))] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is_and_under_any_name(fault: str, read: Callable[..., Published]) -> None:
    check, put = FAULTS[fault]
    for at, other in ((A, B), (B, A)):
        found = told(check(read(lambda files, at=at: put(files, at))))
        assert at in found
        assert other not in found.replace(f"{A}, {B}", "") or fault == "vision"
    moved = told(check(read(lambda files: put(files, B), renamed)))
    assert "y-model" in moved
    assert B not in moved


def test_every_check_has_its_fault() -> None:
    tested = {check for check, _ in FAULTS.values()} | {subsets.same_subsets}
    assert tested == set(CHECKS)


def damaged(files: Files, rng: random.Random) -> None:
    """Replace some values anywhere in the files by others."""

    def places(value: Any) -> list[tuple[Any, Any]]:
        inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        return [(value, key) for key, _ in inner] + [place for _, below in inner for place in places(below)]

    for holder, key in rng.sample(places(files), rng.choice([1, 5, 40, 300])):
        holder[key] = rng.choice([None, 0, -1, 0.5, 1e300, 10**30, float("nan"), "x", [], {}, True])


def test_damaged_files_give_findings_and_no_traceback(read: Callable[..., Published]) -> None:
    rng = random.Random(7)
    for _ in range(25):
        try:
            published = read(lambda files: damaged(files, rng))
        except UserError:
            continue
        data, code = audit(published), readings(published)
        assert page_to_markdown(page(data, code))
        canonical(to_json(data, code))
        assert "faults_of_files" in [finding.name for finding in data]


def test_an_empty_set_has_no_finding() -> None:
    empty = Published((), (), (), (), ())
    assert audit(empty) == readings(empty) == []
