"""A checkpoint measured by three jobs, with the real Snakemake."""

from __future__ import annotations

import shutil

import pytest
from workflow.harness import PROBED, Workspace, hold_after_saving, kill_when

from maxact.measure.parts import read_part
from maxact.store.objects import Manifest

REAL, PLANTED = "SmolLM2-135M-Instruct", "planted-qwen3-moe"


def target(name: str) -> str:
    return f"artifacts/small/measure/{name}.json"


def shards(workspace: Workspace, name: str, number: int) -> None:
    next(item for item in workspace.study["checkpoints"] if item["name"] == name)["shards"] = number


def names(name: str) -> list[str]:
    """What is computed of a measurement in three shards."""
    return sorted([f"measure/{name}", *(f"shard/{name}.{number}of3" for number in (1, 2, 3))])


def test_three_shards_have_the_bytes_of_one_job(workspace: Workspace) -> None:
    """First the measurement is known, and nothing is computed; then it is lost with its record."""
    before = Manifest.read(workspace.folder / target(PLANTED))
    shards(workspace, PLANTED, 3)
    run = workspace.snakemake(target(PLANTED))
    assert run.computed == []
    assert run.started.count("shard") == 3
    (workspace.folder / "artifacts" / "actions" / f"{before.key}.json").unlink()
    (workspace.folder / target(PLANTED)).unlink()
    shutil.rmtree(workspace.folder / "artifacts" / "small" / "shard")
    run = workspace.snakemake(target(PLANTED))
    assert run.computed == names(PLANTED)
    assert run.forward_passes == workspace.study["corpus"]["samples"] + PROBED
    assert Manifest.read(workspace.folder / target(PLANTED)) == before


@pytest.mark.slow
def test_shards_that_are_killed_go_on_from_what_they_have_saved(workspace: Workspace) -> None:
    """All is measured anew, as the code differs; every sample is saved, and the run is killed once one is."""
    before = Manifest.read(workspace.folder / target(REAL))
    shards(workspace, REAL, 3)
    held = hold_after_saving(workspace)
    unfinished = workspace.folder / "artifacts" / "unfinished"
    kill_when(workspace.start(target(REAL)), lambda: list(unfinished.glob("*/part.npz")))
    held.unlink()
    done = sum(len(read_part(part).samples) for part in unfinished.glob("*/part.npz"))
    samples = workspace.study["corpus"]["samples"]
    assert 0 < done < samples
    run = workspace.snakemake(target(REAL))
    assert run.computed == names(REAL)
    assert run.forward_passes == samples - done + PROBED
    made = Manifest.read(workspace.folder / target(REAL))
    assert (made.objects, made.summary) == (before.objects, before.summary)
    assert not list(unfinished.glob("*"))
    shards(workspace, REAL, 2)
    assert workspace.snakemake(target(REAL)).computed == []
