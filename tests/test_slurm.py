"""What SLURM says, read: lists of resources, limits, and why a job was ended. `tests/slurm` asks a real one."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from workflow.harness import REPOSITORY

from maxact.devices import gpus_in
from maxact.errors import UserError
from maxact.needs.passes import TOKENS
from maxact.slurm import Asked, ask_evenly, check_cluster, ended_by_slurm, kinds_in, minutes_of

TIME_LIMIT = "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-27T22:00:00 DUE TO TIME LIMIT ***\n"
CANCELLED = "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-27T22:00:00 ***\n"
NODE = (
    "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-27T22:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***\n"
)
OVER = "slurmstepd: error: Job 12 exceeded memory limit (9000 > 8000), being killed\n" + CANCELLED
HERE = "/lab/here"
"""The working folder of the run."""
MINUTES = "resources.minutes of checkpoint A-1B in the study (and resources.most_minutes, where that is less)"
MEMORY = "resources.memory_gb of checkpoint A-1B in the study (and resources.most_memory_gb, where that is less)"
CGROUP = "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.\n"


@pytest.mark.parametrize(
    ("listed", "number"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:8(S:0-1)", 8),
        ("gpu:a100:2,gpu:h100:3,shard:16", 5),
        ("gpu", 1),
        ("mps:400", 0),
        ("gpu:a100:4(S:0,2),lustre:1", 4),
    ],
)
def test_devices_of_a_node_are_counted(listed: str, number: int) -> None:
    assert gpus_in(listed) == number


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", None), ("1:00:00", 60), ("2-00:00:00", 2880), ("30:00", 30), ("1-12:30:30", 2190.5), ("n/a", None)],
)
def test_limits_of_time_are_minutes(limit: str, minutes: float | None) -> None:
    assert minutes_of(limit) == minutes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TIME_LIMIT, f"ran out of time; raise {MINUTES}"),
        (OVER, f"ran out of memory; raise {MEMORY}"),
        (CGROUP, f"ran out of memory; raise {MEMORY}"),
        (
            CANCELLED.replace(" ***\n", " DUE TO PREEMPTION ***\n"),
            "was ended for a job that goes first; run again, in a partition or with a slurm-qos where none does",
        ),
        (
            NODE,
            "lost its node; run again (`sinfo -R` tells which and why), with --slurm-requeue SLURM does it by itself",
        ),
        (CANCELLED, "was cancelled; run again"),
    ],
)
def test_a_job_that_was_ended_is_told_with_its_key(text: str, told: str, tmp_path: Path) -> None:
    write(tmp_path / "rule_measure" / "A-1B" / "12.log", text)
    write(tmp_path / "rule_measure" / "B" / "13.log", "error: a mistake of its own\n")
    assert list(ended_by_slurm(tmp_path, 0, HERE)) == [f"measure A-1B: SLURM job 12 {told}"]
    assert list(ended_by_slurm(tmp_path, 1e12, HERE)) == []


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    write(tmp_path / "rule_measure" / "A" / "12.log", OVER, time=100)
    write(tmp_path / "rule_measure" / "A" / "13.log", TIME_LIMIT, time=200)
    (told,) = ended_by_slurm(tmp_path, 50, HERE)
    assert "SLURM job 13 ran out of time" in told


def test_jobs_of_no_checkpoint_and_variants_have_keys_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "rule_variant" / "A-1.5B.dtype" / "1.log", OVER)
    write(tmp_path / "rule_results" / "2.log", OVER)
    write(tmp_path / "rule_shard" / "A-1.5B.1of3" / "3.log", TIME_LIMIT)
    assert sorted(ended_by_slurm(tmp_path, 0, HERE)) == [
        "results: SLURM job 2 ran out of memory; raise set-resources: results: mem_mb in the profile",
        f"shard A-1.5B.1of3: SLURM job 3 ran out of time; raise {MINUTES.replace('A-1B', 'A-1.5B')}",
        f"variant A-1.5B.dtype: SLURM job 1 ran out of memory; raise {MEMORY.replace('A-1B', 'A-1.5B')}",
    ]


def test_every_rule_has_a_key_that_its_study_or_profile_takes(tmp_path: Path) -> None:
    """Of a stage that runs a model it is the study's, if its name is that of a checkpoint, with a variant or shard."""
    texts = [file.read_text(encoding="utf-8") for file in (REPOSITORY / "rules").glob("*.smk")]
    rules = {name for text in texts for name in re.findall(r"^ *rule (\w+):", text, re.MULTILINE)}
    assert set(TOKENS) < rules
    whole = {rule: {"variant": "A-1.5B.dtype", "shard": "A-1.5B.1of3"}.get(rule, "A-1.5B") for rule in rules}
    for number, (rule, name) in enumerate(whole.items()):
        write(tmp_path / f"rule_{rule}" / name / f"{number}.log", OVER)
    told = dict(
        line.removesuffix(" in the profile").split(": SLURM job", 1) for line in ended_by_slurm(tmp_path, 0, HERE)
    )
    assert set(told) == {f"{rule} {name}" for rule, name in whole.items()}
    for rule, name in whole.items():
        key = MEMORY.replace("A-1B", "A-1.5B") if rule in TOKENS else f"set-resources: {rule}: mem_mb"
        assert told[f"{rule} {name}"].endswith(f"raise {key}")


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """What squeue prints: number, state, reason, time of submission, comment; with the working folder."""

    def answer(lines: Sequence[str], folder: str = HERE) -> None:
        program = tmp_path / "squeue"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}|{folder}'\n" for line in lines))
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return answer


NOW = "2026-11-28T10:00:00"


def test_a_job_without_a_word_in_its_log_is_told_from_its_state(
    tmp_path: Path, answered: Callable[[Sequence[str]], None]
) -> None:
    states = ["NODE_FAIL|NodeDown", "FAILED|JobLaunchFailure", "OUT_OF_MEMORY|OutOfMemory", "FAILED|NonZeroExitCode"]
    states += ["TIMEOUT|TimeLimit", "BOOT_FAIL|None", "PREEMPTED|None", "DEADLINE|DeadLine", "CANCELLED by 0|None"]
    states += ["RUNNING|None"]
    rows = [*zip("ABCDEFGHIJ", range(11, 21), states, strict=True)]
    answered([f"{number}|{state}|{NOW}|rule_measure_wildcards_{name}" for name, number, state in rows])
    for name, number, _ in rows:
        write(tmp_path / "logs" / "rule_measure" / name / f"{number}.log", "measure begins\n")
    told = sorted(ended_by_slurm(tmp_path / "logs", 0, HERE))
    assert [line.split(";")[0] for line in told] == [
        "measure A: SLURM job 11 lost its node",
        "measure B: SLURM job 12 lost its node",
        "measure C: SLURM job 13 ran out of memory",
        "measure E: SLURM job 15 ran out of time",
        "measure F: SLURM job 16 lost its node",
        "measure G: SLURM job 17 was ended for a job that goes first",
        "measure H: SLURM job 18 was ended at a deadline",
        "measure I: SLURM job 19 was cancelled",
    ]


def test_a_job_that_was_ended_while_it_waited_has_no_log_and_is_told(
    tmp_path: Path, answered: Callable[[Sequence[str]], None]
) -> None:
    answered(
        [
            f"9|CANCELLED|None|{NOW}|rule_results",
            f"8|DEADLINE|DeadLine|{NOW}|rule_paper_check_wildcards_A_1.5B",
            f"7|CANCELLED|None|{NOW}|(null)",
            "6|CANCELLED|None|N/A|rule_corpus",
        ]
    )
    assert [line.split(";")[0] for line in ended_by_slurm(tmp_path / "none", 0, HERE)] == [
        "paper_check A_1.5B: SLURM job 8 was ended at a deadline",
        "results: SLURM job 9 was cancelled",
    ]
    assert list(ended_by_slurm(tmp_path / "none", time.mktime((2026, 11, 28, 10, 0, 2, 0, 0, -1)), HERE)) == []


def test_a_job_whose_next_attempt_ended_well_is_not_told(
    tmp_path: Path, answered: Callable[[Sequence[str]], None]
) -> None:
    answered([f"12|COMPLETED|None|{NOW}|rule_measure_wildcards_A", f"11|FAILED|None|{NOW}|rule_measure_wildcards_A"])
    write(tmp_path / "logs" / "rule_measure" / "A" / "11.log", OVER)
    assert list(ended_by_slurm(tmp_path / "logs", 0, HERE)) == []


def test_a_group_is_told_once_without_a_key_that_no_profile_has(tmp_path: Path, answered: Callable[..., None]) -> None:
    write(tmp_path / "logs" / "group_quantize" / "A" / "5.log", OVER)
    answered([f"5|FAILED|NonZeroExitCode|{NOW}|rule_quantize_wildcards_A"])
    assert list(ended_by_slurm(tmp_path / "logs", 0, HERE)) == [
        "group_quantize A: SLURM job 5 ran out of memory; raise what its jobs ask for, or make the group smaller"
    ]


def test_jobs_that_were_submitted_elsewhere_are_none_of_this_run(tmp_path: Path, answered: Callable[..., None]) -> None:
    answered([f"7|CANCELLED|None|{NOW}|rule_results", f"8|NODE_FAIL|None|{NOW}|rule_measure_wildcards_A"], "/lab/other")
    assert list(ended_by_slurm(tmp_path / "none", 0, HERE)) == []


def test_logs_that_are_no_jobs_or_go_meanwhile_are_passed_over(tmp_path: Path) -> None:
    """The folder may be one that has others too, and another run may delete its own while this one looks."""
    write(tmp_path / "run.log", CANCELLED)
    write(tmp_path / "others" / "notes.log", CANCELLED)
    (tmp_path / "rule_measure" / "B").mkdir(parents=True)
    (tmp_path / "rule_measure" / "B" / "14.log").symlink_to("gone")
    write(tmp_path / "rule_measure" / "A" / "13.log", CANCELLED)
    assert list(ended_by_slurm(tmp_path, 0, HERE)) == ["measure A: SLURM job 13 was cancelled; run again"]


def write(file: Path, text: str, time: float | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if time is not None:
        os.utime(file, (time, time))


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no SLURM here: there is no sinfo"):
        check_cluster([Asked("measure", "A", None, 1, 1000, 10)])
    check_cluster([])
    program = tmp_path / "sinfo"
    program.write_text("#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"does not answer \(slurm_load_partitions: Unable to contact"):
        check_cluster([Asked("measure", "A", None, 1, 1000, 10)])


def test_nodes_of_a_partition_are_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sinfo prints them: a line for each kind of node, the default partition with a star."""
    program = tmp_path / "sinfo"
    lines = ["cpu*|(null)|256000|7-00:00:00", "gpu|gpu:a100:4|512000+|2-00:00:00", "gpu|gpu:a100:8|1024000|2-00:00:00"]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    check_cluster([Asked("measure", "A", "gpu", 8, 1_000_000, 2880), Asked("results", "", None, 0, 8000, 10_000)])
    with pytest.raises(UserError, match="measure A needs 1 GPU on one node, and the nodes of partition cpu have none"):
        check_cluster([Asked("measure", "A", None, 1, 1000, 10)])
    with pytest.raises(UserError, match="partition gpu allows 2880; choose another"):
        check_cluster([Asked("measure", "A", "gpu", 1, 1000, 2881)])


def test_a_generic_resource_that_no_node_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sinfo"
    program.write_text("#!/bin/sh\necho 'gpu*|gpu:a100:4(S:0-1),shard:8|512000|infinite'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for known in ("gpu:2", "gpu:a100:1", "gpu", "shard:1", ""):
        check_cluster([Asked("measure", "A", None, 0, 1000, 10, kinds_in(known))])
    for unknown, name in (("gold:1", "gold"), ("gpu:h100:1", "gpu:h100")):
        told = f"measure A asks for {name}, which no node of partition gpu has; mend gres or gpu_model in the profile "
        with pytest.raises(UserError) as refused:
            check_cluster([Asked("measure", "A", None, 0, 1000, 10, kinds_in(unknown))])
        assert str(refused.value) == told + "(there are: gpu, gpu:a100, shard)"


def test_an_executor_asks_evenly_and_one_of_another_version_as_it_does_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "next_seconds_between_status_checks"
    monkeypatch.setattr(RemoteExecutor, name, vars(RemoteExecutor)[name])  # as it was, afterwards
    settings = SimpleNamespace(remote_execution_settings=SimpleNamespace(seconds_between_status_checks=5))
    executor = SimpleNamespace(workflow=settings)
    ask_evenly()
    own = vars(RemoteExecutor)[name]
    own.fset(executor, 170)
    assert own.fget(executor) == 5
    monkeypatch.setitem(sys.modules, RemoteExecutor.__module__, None)
    ask_evenly()
