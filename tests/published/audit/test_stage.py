"""The stage `audit`, on files of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.published.audit.stage import compute
from maxact.published.listing import file_digests
from maxact.published.where import note_source
from maxact.store.job import Job
from maxact.store.objects import Store
from published.tree import made, written


def job_on(tree: Path, folder: Path) -> Job:
    (folder / "scratch").mkdir(parents=True)
    parameters = {"files": file_digests(tree)}
    note_source(folder / "store", parameters["files"], {"folder": str(tree)})
    return Job("audit", "audit", parameters, {}, {}, Store(folder / "store"), folder / "scratch")


def test_it_writes_the_page_and_counts_by_severity(tmp_path: Path) -> None:
    product = compute(job_on(written(tmp_path / "tree", made()), tmp_path / "a"))
    assert sorted(product.files) == ["audit.html", "audit.json", "audit.md"]
    findings = json.loads(product.files["audit.json"].read_text(encoding="utf-8"))
    assert sum(product.summary["findings"].values()) == len(findings)
    assert "gates_missing" in [finding["name"] for finding in findings]  # of the one with routers
    again = compute(job_on(tmp_path / "tree", tmp_path / "b"))
    assert [file.read_bytes() for file in again.files.values()] == [
        file.read_bytes() for file in product.files.values()
    ]


def test_files_that_have_changed_since_are_refused(tmp_path: Path) -> None:
    job = job_on(written(tmp_path / "tree", made()), tmp_path)
    (tmp_path / "tree" / "quant" / "quant_sanity_summary.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="have changed since"):
        compute(job)
