"""What jobs ask for is enough: the small study's own jobs are compared with what they have taken, and Snakemake is told it."""

from __future__ import annotations

import re

from workflow.harness import Run, Workspace

from maxact.needs.lookup import Lookup
from maxact.study import Study


def test_every_job_has_taken_less_than_it_asked_for(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    lookup = Lookup(Study.model_validate(workspace.study), workspace.folder / "artifacts")
    lines = workspace.journal()
    assert {line["stage"] for line in lines} >= {"checkpoint", "loading_check", "measure", "quantize", "results"}
    for line in lines:
        needs = lookup.of(line["stage"], line["name"])
        assert needs.known
        assert line["seconds"] < 60 * needs.minutes, line
        assert line["peak_memory_mib"] * 2**20 < needs.resources()["mem_mb"] * 1e6, line


def test_snakemake_is_told_what_is_planned(workspace: Workspace) -> None:
    workspace.study["checkpoints"][1]["resources"] = {"memory_gb": 7.25, "minutes": 41}
    run = workspace.snakemake("-n", "--forcerun", "measure")
    jobs = [job for job in run.output.split("rule ") if job.startswith("measure:") and "name=planted-qwen2\n" in job]
    (asked,) = [re.search(r"^ *resources: (.+)$", job, re.MULTILINE)[1] for job in jobs]  # type: ignore[index]
    assert {"mem_mb=7250", "runtime=41", "gpu=0"} <= set(asked.replace(" ", "").split(","))


def test_another_need_recomputes_nothing(workspace: Workspace) -> None:
    for checkpoint in workspace.study["checkpoints"]:
        checkpoint["resources"] = {"memory_gb": 9.0, "minutes": 5, "disk_gb": 1.0}
    workspace.study["resources"] = {"gpu_memory_gb": 24.0}
    assert workspace.snakemake().started == []
