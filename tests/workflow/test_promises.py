"""Damage, kills and company: what the store promises when things go wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from workflow.harness import PROBED, Run, Workspace, copy_of, hold_after_saving, kill_when, printed

from maxact.measure.parts import read_part
from maxact.store.objects import Manifest, Store
from maxact.store.verify import faults

LOCK = "artifacts/small/.lock"


def tables(workspace: Workspace, study: str = "small") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (workspace.folder / "reports" / study / "tables").iterdir()}


def test_an_object_with_a_flipped_bit_is_made_again_before_it_is_used(workspace: Workspace, tmp_path: Path) -> None:
    """The histograms of one planted checkpoint are damaged; other bits need them."""
    store = Store(workspace.folder / "artifacts")
    manifest = Manifest.read(workspace.folder / "artifacts/small/measure/planted-qwen2.json")
    path = store.path(manifest.objects["histograms.parquet"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.unlink()  # it is a link to the copy that other tests use
    path.write_bytes(data)
    assert [fault.path for fault in faults(store)] == [path]
    workspace.study["quantize"]["formats"] = ["int6"]
    run = workspace.snakemake()
    assert "measure/planted-qwen2" in run.computed
    assert run.forward_passes == workspace.study["corpus"]["samples"] + PROBED
    assert list(faults(store)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7])
def test_a_run_killed_at_any_moment_leaves_nothing_half_made_and_the_next_goes_on(
    seed: int, finished: tuple[Workspace, Run], tmp_path: Path
) -> None:
    """A further checkpoint, a corpus and a measurement are under way when all processes are killed at once."""
    killed, whole = copy_of(finished[0], tmp_path / "killed"), copy_of(finished[0], tmp_path / "whole")
    for workspace in (killed, whole):
        workspace.study["corpus"]["seed"] = seed
    kills = 0
    for seconds in (2.0, 4.0, 7.0, 10.0, 14.0):
        process = killed.start()
        time.sleep(seconds)
        kills += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        store = Store(killed.folder / "artifacts")
        assert list(faults(store)) == []
        for _, manifest in store.manifests():
            assert store.action(manifest.key) is not None
    assert kills >= 3
    run = killed.snakemake()
    assert run.returncode == 0
    whole.snakemake()
    assert tables(killed) == tables(whole)
    assert len(killed.actions()) == len(whole.actions())


def test_a_measurement_that_is_killed_goes_on_from_what_it_has_saved(workspace: Workspace) -> None:
    """Here it saves after every sample, and is killed with all its run once it has."""
    name = "SmolLM2-135M-Instruct"
    target = f"artifacts/small/measure/{name}.json"
    before = Manifest.read(workspace.folder / target)
    held = hold_after_saving(workspace)
    unfinished = workspace.folder / "artifacts" / "unfinished"
    kill_when(workspace.start(target), lambda: list(unfinished.glob("*/part.npz")))
    held.unlink()
    samples = workspace.study["corpus"]["samples"]
    (part,) = unfinished.glob("*/part.npz")
    done = len(read_part(part).samples)
    assert 0 < done < samples
    run = workspace.snakemake(target)
    assert run.forward_passes == samples - done + PROBED
    assert Manifest.read(workspace.folder / target).objects == before.objects
    assert not list(unfinished.glob("*"))


def test_two_runs_at_once_on_one_store_do_not_harm_each_other(workspace: Workspace) -> None:
    """Two studies in one folder want the same new results: each is computed once, both are finished."""
    before = len(workspace.journal())
    running = []
    for name in ("one", "two"):
        workspace.study = {**workspace.study, "study": name, "quantize": {"formats": ["int5"], "policies": ["max"]}}
        running.append(workspace.start(study=f"{name}.yaml"))
    outputs = printed(running)
    assert [process.returncode for process in running] == [0, 0], outputs
    keys = [line["key"] for line in workspace.journal()[before:]]
    assert len(keys) == len(set(keys)) > 3
    assert tables(workspace, "one") == tables(workspace, "two")
    assert list(faults(Store(workspace.folder / "artifacts"))) == []


def test_a_second_run_of_the_same_study_is_refused(workspace: Workspace) -> None:
    workspace.study["corpus"]["seed"] = 5
    first = workspace.start()
    # The copied lock file names the run that made it.
    while not (workspace.folder / LOCK).read_text().startswith(f"{first.pid} on "):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    second = workspace.snakemake(check=False)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode != 0
    assert "another run or command is at work on this study" in second.output
    assert "Traceback" not in second.output
