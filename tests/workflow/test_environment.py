"""Checkpoints with Ling's layout in a study: opened and measured under transformers 4, in an environment made on demand.

A layout test (tests/layout), no proof of the code that Ling's checkpoints bring. The environment is made once from its lock,
by pip with the settings of whoever runs the tests, so the first test is slow and needs a package index.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from layout.checkpoint import write_layout
from workflow.harness import Run, Workspace
from workflow.test_bad_input import VOCABULARY, assert_refused

from maxact.checkpoints.folder import folder_digest
from maxact.checkpoints.load import load_model
from maxact.checkpoints.own_code import code_digest, register
from maxact.measure.run import Sample, measure
from maxact.sites.components import PAPER
from maxact.store.objects import Manifest, Store
from maxact.study import Peak

PEAK = Peak(component="mlp_output", layer=2, channel=11, value=-10048.0)
JOBS = [
    f"{stage}/{name}" for stage in ("checkpoint", "loading_check", "measure") for name in ("layout", "planted-layout")
]
TARGETS = [f"artifacts/small/measure/{name}.json" for name in ("layout", "planted-layout")]


def token_rows(workspace: Workspace, name: str = "tokens.parquet") -> list[dict[str, Any]]:
    """The tokens of SmolLM2, which are the layout's, or another of the tables beside them."""
    store = Store(workspace.folder / "artifacts")
    manifest = Manifest.read(workspace.folder / "artifacts/small/tokens/smollm2.json")
    rows: list[dict[str, Any]] = pq.read_table(store.path(manifest.objects[name])).to_pylist()
    return rows


def add(workspace: Workspace, folder: Path, **changed: Any) -> None:
    source = {"kind": "folder", "path": str(folder), "sha256": folder_digest(folder)}
    checkpoint = {"name": folder.name, "family": "ling", "source": source, "perplexity_ceiling": 1e9}
    checkpoint |= {"environment": "ling", "remote_code": {"sha256": code_digest(folder)}}
    workspace.study["families"]["ling"] = {"model_type": "bailing_moe", "tokenizer": "SmolLM2-135M-Instruct"}
    workspace.study["checkpoints"].append(checkpoint | changed)


def once(workspace: Workspace) -> tuple[int, int, int]:
    """Sample and position of a token that the corpus has once, and the token."""
    rows = token_rows(workspace)
    counts = Counter(token for row in rows for token in row["token_ids"])
    return next(
        (row["sample"], position, token)
        for row in rows
        for position, token in enumerate(row["token_ids"])
        if counts[token] == 1
    )


def written(workspace: Workspace, folder: Path) -> tuple[int, int]:
    """Two checkpoints, one of them with a peak, added to the study; the sample and position where the peak is."""
    sample, position, token = once(workspace)
    add(workspace, write_layout(folder / "layout", vocab_size=VOCABULARY, initializer_range=0.5))
    add(workspace, write_layout(folder / "planted-layout", PEAK, token, vocab_size=VOCABULARY))
    return sample, position


@pytest.mark.slow
def test_they_are_measured_there_to_the_same_bytes_and_then_found_without_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    sample, position = written(workspace, tmp_path)
    environment = workspace.folder / ".venv-ling"
    run = workspace.snakemake(*TARGETS)
    assert run.computed == sorted(JOBS)  # the tokens are those of another family, from the store
    assert (environment / "made-from").exists()
    manifests = {
        name: Manifest.read(workspace.folder / f"artifacts/small/measure/{name}.json")
        for name in ("layout", "planted-layout")
    }
    assert {manifest.recipe["packages"]["transformers"][:2] for manifest in manifests.values()} == {"4."}

    # The layout's code runs under transformers 5 too: here, compared with the oracle in test_bailing_moe.py.
    register(tmp_path / "layout", code_digest(tmp_path / "layout"))
    samples = [Sample(row["sample"], row["split"], tuple(row["token_ids"])) for row in token_rows(workspace)]
    vocabulary = {row["token_id"]: row["text"] for row in token_rows(workspace, "vocabulary.parquet")}
    here = measure(load_model(tmp_path / "layout"), samples, list(PAPER), vocabulary).write(tmp_path / "here")
    store, objects = Store(workspace.folder / "artifacts"), manifests["layout"].objects
    for name in here:
        assert store.path(objects[name]).read_bytes() == here[name].read_bytes(), name

    M = manifests["planted-layout"].summary["M"]
    found = (M["component"], M["layer"], M["channel"], M["signed"], M["sample"], M["position"], M["ties"])
    assert found == (PEAK.component, PEAK.layer, PEAK.channel, PEAK.value, sample, position, [])

    assert_found_without_environment(workspace, environment)


def assert_found_without_environment(workspace: Workspace, environment: Path) -> None:
    environment.rename(environment.with_name("moved"))
    for job in JOBS:
        (workspace.folder / "artifacts" / "small" / f"{job}.json").unlink()
    again = workspace.snakemake(*TARGETS)
    assert (again.computed, len(again.started)) == ([], len(JOBS))
    assert not environment.exists()


def refused(workspace: Workspace, **environment: str) -> Run:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        return workspace.snakemake("artifacts/small/measure/layout.json", check=False)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_without_a_package_index_the_study_stops_with_one_line(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, write_layout(tmp_path / "layout", vocab_size=VOCABULARY))
    run = refused(workspace, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")
    assert_refused(run, ".venv-ling: cannot be made from envs/ling.txt", "see that pip reaches its package index")
    assert run.computed == ["checkpoint/layout"]  # which needs no environment
    assert list((workspace.folder / "artifacts/scratch").glob("*")) == []


def test_code_that_the_study_does_not_pin_stops_it_and_is_not_run(workspace: Workspace, tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "layout", vocab_size=VOCABULARY)
    trace = tmp_path / "trace"
    add(workspace, folder, environment=None)
    file = folder / "configuration_layout.py"
    file.write_text(file.read_text() + f"\nopen({str(trace)!r}, 'w').close()\n")
    assert_refused(refused(workspace), "SHA-256 of its code is", "the study pins", "none of it was run")
    assert not trace.exists()


def test_code_without_opting_in_stops_before_the_first_job(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, write_layout(tmp_path / "layout"), environment=None, remote_code=None)
    assert_refused(refused(workspace), "study.yaml", "(layout)", "give remote_code: {sha256: ...}")


def test_the_stamps_of_other_checkpoints_stay(workspace: Workspace, tmp_path: Path) -> None:
    keys = workspace.folder / "artifacts" / "small" / "keys"
    before = {path: path.stat().st_mtime_ns for path in keys.glob("measure/*.json")}
    add(workspace, write_layout(tmp_path / "layout", vocab_size=VOCABULARY))
    workspace.snakemake("-n", "artifacts/small/checkpoint/layout.json")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert json.loads((keys / "measure" / "layout.json").read_text())["environment"] == "ling"
