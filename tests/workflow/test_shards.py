"""A checkpoint measured by three jobs, with the real Snakemake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from workflow.harness import PROBED, Workspace

from maxact.measure.parts import read_part
from maxact.store.objects import Manifest

NAME = "SmolLM2-135M-Instruct"
TARGET = f"artifacts/small/measure/{NAME}.json"


def shards(workspace: Workspace, number: int) -> None:
    next(item for item in workspace.study["checkpoints"] if item["name"] == NAME)["shards"] = number


def test_three_shards_have_the_bytes_of_one_job_and_go_on_where_they_were_killed(
    workspace: Workspace, edit: Callable[[str, str, str], None]
) -> None:
    """All is measured anew, as the code differs; every sample is saved, and the run is killed once one is."""
    before = Manifest.read(workspace.folder / TARGET)
    shards(workspace, 3)
    run = workspace.snakemake(TARGET)
    assert run.computed == []  # the measurement is known
    assert run.started.count("shard") == 3
    edit("workflow_scripts/maxact/measure/run.py", "SAVE_SECONDS = 30.0", "SAVE_SECONDS = 0.0")
    process = workspace.start(TARGET)
    unfinished = workspace.folder / "artifacts" / "unfinished"
    while not list(unfinished.glob("*/part.npz")) and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = sum(len(read_part(part).samples) for part in unfinished.glob("*/part.npz"))
    samples = workspace.study["corpus"]["samples"]
    assert 0 < done < samples
    run = workspace.snakemake(TARGET)
    assert run.computed == sorted([f"measure/{NAME}", *(f"shard/{NAME}.{number}of3" for number in (1, 2, 3))])
    assert run.forward_passes == samples - done + PROBED
    made = Manifest.read(workspace.folder / TARGET)
    assert (made.objects, made.summary) == (before.objects, before.summary)
    assert not list(unfinished.glob("*"))
    for number in (2, 1):
        shards(workspace, number)
        assert workspace.snakemake(TARGET).computed == []
