"""A study through a real SLURM: GPUs are counted and never shared, and a bad day costs one run more."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm.cluster import GPUS, Cluster, lacking
from slurm.submitted import Submitted, overlapping, plugin, wait_for
from workflow.harness import Run, Workspace, copy_of

pytestmark = pytest.mark.xdist_group("cluster")
MEASURED = "artifacts/small/measure/{}.json"


def started(accounts: bool = False, **options: int) -> Cluster:
    """A cluster, if there can be one."""
    reason = lacking(accounts)
    if reason:
        pytest.skip(reason)
    if plugin() is None:
        pytest.skip("the executor for SLURM is not installed: make test installs it")
    return Cluster(accounts=accounts, **options)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with started(nodes=2, patience=10) as running:
        yield running


@pytest.fixture(scope="module")
def with_accounts() -> Iterator[Cluster]:
    with started(accounts=True) as running:
        yield running


@pytest.fixture
def checkout(finished: tuple[Workspace, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """That of the small study, in an environment that knows of no SLURM."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")) or name == "CUDA_VISIBLE_DEVICES":
            monkeypatch.delenv(name)
    return copy_of(finished[0], tmp_path / "checkout")


@pytest.fixture
def submitted(cluster: Cluster, checkout: Workspace) -> Submitted:
    """The small study on GPUs, with nothing of it measured on them yet."""
    return Submitted(cluster, checkout)


def test_a_measurement_is_submitted_and_gets_a_gpu_of_its_own(submitted: Submitted) -> None:
    submitted.planted("a")
    output = submitted.run(MEASURED.format("a"), "--slurm-keep-successful-logs")
    assert re.findall(r"^rule (\w+):", output, re.MULTILINE) == ["weights", "measure"]
    (job,) = submitted.held()
    assert job["devices"] in [str(number) for number in range(GPUS)]
    folder = submitted.workspace.folder
    assert (folder / f".snakemake/slurm_logs/rule_measure/a/{job['job']}.log").exists()
    assert "computed" in (folder / "artifacts/small/logs/measure/a.log").read_text()
    # What a job reads again, it reads as a job: it writes no key stamp and holds no folder, which is held by the run.
    assert submitted.parsed() == {(True, False), (False, True)}
    again = submitted.run(MEASURED.format("a"))
    assert "Nothing to be done" in again


UNFIT = {
    "partition": (
        ["--default-resources", "slurm_partition=gold"],
        {},
        "partition 'gold' is not in this cluster; mend slurm_partition in the profile (there are: main)",
    ),
    "GPUs": ([], {"gpus": 9}, "measure a needs 9 GPUs on one node, and the nodes of partition main have 4 at most"),
    "memory": ([], {"memory_gb": 900.0}, "lower resources.memory_gb of checkpoint a in the study"),
    "time": ([], {"minutes": 61}, "measure a asks for 61 minutes, and partition main allows 60"),
}


def test_what_the_cluster_cannot_give_is_told_before_the_first_job(submitted: Submitted) -> None:
    for arguments, resources, told in UNFIT.values():
        submitted.planted("a", resources=resources)
        output = submitted.run(MEASURED.format("a"), *arguments, check=False)
        (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert told in error
        assert "Traceback" not in output
    assert not list((submitted.workspace.folder / ".snakemake").glob("slurm_logs/*/*"))
    assert submitted.begun() == []


@pytest.mark.slow
def test_a_cancelled_job_and_a_drained_node_cost_one_run_more(submitted: Submitted) -> None:
    names = [f"p{number}" for number in range(7)]
    submitted.planted(*names)
    submitted.workspace.study["checkpoints"][-1]["resources"] = {"gpus": 2}
    cluster, results = submitted.cluster, "artifacts/small/results/results.json"
    with submitted.start("--retries", "0", results, HOLD="15") as process:
        try:
            wait_for(lambda: submitted.begun() or process.poll() is not None, 300)
            assert process.poll() is None, process.communicate()[0]
            first = submitted.begun()[0]
            cluster.run("scontrol", "update", f"nodename={cluster.host}", "state=drain", "reason=test")
            cluster.run("scancel", first["job"])
            wait_for(lambda: "draining" not in cluster.run("sinfo", "-h", "-o", "%T"))
        finally:
            cluster.told("scontrol", "update", f"nodename={cluster.host}", "state=resume")
        output, _ = process.communicate()
    assert process.returncode == 1
    assert f"{first['name']}: SLURM job {first['job']} was cancelled; run again" in output

    submitted.run(results, HOLD="3")
    jobs = submitted.held()
    assert {job["name"] for job in jobs} >= set(names)
    assert overlapping(jobs) == []
    assert {len(job["devices"].split(",")) for job in jobs if job["name"] == names[-1]} == {2}
    assert len({job["devices"] for job in jobs if "," not in job["devices"]}) > 1
    found: dict[str, Any] = json.loads((submitted.workspace.folder / results).read_text())["summary"]
    assert found["instrument_check"].startswith(f"{len(names)} of {len(names)}")
    actions = [line["key"] for line in submitted.workspace.journal()]
    assert len(actions) == len(set(actions))


@pytest.mark.slow
def test_a_job_out_of_memory_is_told_which_key_and_its_next_attempt_has_more(submitted: Submitted) -> None:
    submitted.planted("a", resources={"memory_gb": 1.6})
    output = submitted.run("--retries", "0", MEASURED.format("a"), check=False, GROW="1500", HOLD="20")
    assert "measure a: SLURM job" in output
    assert "ran out of memory; raise resources.memory_gb of checkpoint a in the study" in output
    submitted.run("--retries", "2", MEASURED.format("a"), GROW="1500", HOLD="5")


@pytest.mark.slow
def test_a_job_out_of_time_is_told_which_key(submitted: Submitted) -> None:
    submitted.planted("a", resources={"minutes": 1})
    output = submitted.run("--retries", "0", MEASURED.format("a"), check=False, HOLD="150")
    assert "ran out of time; raise resources.minutes of checkpoint a in the study" in output


@pytest.mark.slow
def test_generic_resources_serve_where_a_cluster_counts_no_gpus(submitted: Submitted) -> None:
    submitted.planted("a")
    asked = ["--set-resources", "measure:gpu=0", "measure:gres=gpu:2", "--retries", "0", MEASURED.format("a")]
    submitted.run(*asked)
    (job,) = submitted.held()
    assert len(job["devices"].split(",")) == 2

    submitted.planted("b")
    wrong = [word.replace("gpu:2", "gold:1").replace("/a.", "/b.") for word in asked]
    output = submitted.run(*wrong, check=False)
    told = "error: measure b asks for gold, which no node of partition main has; mend gres or gpu_model in the profile"
    assert f"{told} (there are: gpu)" in output


@pytest.mark.slow
def test_figures_are_made_where_snakemake_runs_as_many_at_once_as_the_profile_says(
    cluster: Cluster, checkout: Workspace
) -> None:
    figures = ["component_heatmap", "domains", "emergence", "global_maxima"]
    checkout.study["figures"]["overrides"] = {name: {"font_size": 9.5} for name in figures}
    before = len(checkout.journal())
    output = Submitted(cluster, checkout, stand_ins=False).run(
        *(f"reports/small/figures/{name}.pdf" for name in figures)
    )
    assert "has been submitted" not in output
    made = checkout.journal()[before:]
    assert sorted(line["name"] for line in made) == figures
    begun = [line["time"] for line in made]
    at_once = [sum(line["time"] <= time < line["time"] + line["seconds"] for line in made) for time in begun]
    assert max(at_once) == 2


@pytest.mark.slow
def test_a_lost_node_is_told_and_costs_one_run_more(two_nodes: Cluster, checkout: Workspace) -> None:
    submitted = Submitted(two_nodes, checkout)
    submitted.planted("a", "b")
    wanted = [MEASURED.format(name) for name in "ab"]
    # Else SLURM itself gives the job to another node, a minute or two later, and nobody sees more than that.
    with submitted.start("--retries", "0", "--slurm-no-requeue", *wanted, HOLD="20") as process:
        wait_for(lambda: len(submitted.begun()) == 2 or process.poll() is not None, 300)
        assert process.poll() is None, process.communicate()[0]
        lost = submitted.begun()[0]
        two_nodes.lose(lost["node"])
        output, _ = process.communicate()
    assert process.returncode == 1
    told = f"error: measure {lost['name']}: SLURM job {lost['job']} lost its node; run again (`sinfo -R` tells which and why)"
    assert told in output
    assert "Traceback" not in output

    submitted.run(*wanted)
    two_nodes.start_node(lost["node"])
    last = {job["name"]: job for job in submitted.held()}
    assert set(last) == {"a", "b"}
    assert last[lost["name"]]["node"] != lost["node"]
    actions = [line["key"] for line in submitted.workspace.journal()]
    assert len(actions) == len(set(actions))


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["squeue", "sacct"])
def test_a_cluster_that_keeps_accounts_serves_whichever_it_is_asked_by(
    with_accounts: Cluster, checkout: Workspace, asked: str
) -> None:
    submitted = Submitted(with_accounts, checkout)
    submitted.planted("a")
    submitted.run(
        "--default-resources", "nodes=1", "slurm_account=lab", "--slurm-status-command", asked, MEASURED.format("a")
    )
    (job,) = submitted.held()
    told = with_accounts.run("sacct", "-X", "-P", "-n", "--format=JobIdRaw,Account,State,AllocTRES")
    (line,) = [line for line in told.splitlines() if line.startswith(f"{job['job']}|")]
    assert line.startswith(f"{job['job']}|lab|COMPLETED|")
    assert "gres/gpu=1" in line


@pytest.mark.slow
def test_a_node_whose_clock_is_behind_computes_nothing_twice(submitted: Submitted) -> None:
    """By minutes: with more than five, munge refuses what the node says, and SLURM takes it for lost."""
    submitted.planted("a")
    script = submitted.workspace.folder / "workflow_scripts/run_stage.py"
    behind = "\nimport os, time\nos.utime(snakemake.output.manifest, (time.time() - 240,) * 2)  # noqa: F821\n"
    script.write_text(script.read_text(encoding="utf-8") + behind, encoding="utf-8")
    submitted.run(MEASURED.format("a"))
    assert "Nothing to be done" in submitted.run(MEASURED.format("a"))
