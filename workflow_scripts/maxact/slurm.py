"""A run whose jobs go to SLURM: what the cluster cannot give is told before the first is submitted, and why one was ended.

SLURM refuses what it cannot give in words of its own, a job at a time, and one that it ends for memory or time ends without a
word from the stage. Here `sinfo` is asked first, and afterwards the logs that SLURM itself wrote are read, for the key to mend,
and `squeue` for the state of jobs whose log has nothing: nobody writes into that of a job whose node is lost.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maxact.devices import gpus_in
from maxact.errors import UserError
from maxact.needs.passes import TOKENS

LOGS = Path(".snakemake", "slurm_logs")
"""Where the executor has them, if nothing else is said."""

ENDINGS = (
    ("time", r"DUE TO TIME LIMIT"),
    ("memory", r"(?i)exceeded (?:job|step)? ?memory limit|oom[-_ ]?kill|out[ -]of[ -]memory"),
    ("node", r"DUE TO NODE FAILURE|NODE_FAIL"),
    ("preempted", r"DUE TO PREEMPTION"),
    ("cancelled", r"CANCELLED AT"),
)
"""What SLURM writes into the log of a job that it ends, the first that is there counts."""

STATES = {
    "TIMEOUT": "time",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "JobLaunchFailure": "node",
    "PREEMPTED": "preempted",
    "DEADLINE": "deadline",
    "CANCELLED": "cancelled",
}
"""States of a job, and reasons of one that has failed, as `squeue` has them for MinJobAge after its end."""


@dataclass(frozen=True)
class Asked:
    """What one job asks of the cluster; no partition is the cluster's default one.

    Attributes:
        kinds: generic resources as it names them, `gpu` or `gpu:h100`, where it does by `gres` or `gpu_model`.
    """

    rule: str
    name: str
    partition: str | None
    gpus: int
    mem_mb: int
    minutes: int
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Partition:
    """Attributes: gpus, mem_mb: the most that a node has; minutes: of a job, None without a limit; kinds: of all nodes."""

    gpus: int
    mem_mb: int
    minutes: float | None
    default: bool
    kinds: frozenset[str] = frozenset()


def check_cluster(jobs: Sequence[Asked]) -> None:
    """Refuse a run of which the cluster could not start a job.

    Raises:
        UserError: SLURM does not answer, has no such partition, or no node there with so many GPUs, so much memory, for so long.
    """
    if not jobs:
        return
    partitions = _partitions()
    for job in jobs:
        named = job.partition or next((name for name, found in partitions.items() if found.default), None)
        if named is None:
            raise UserError(
                f"this cluster has no default partition; say slurm_partition in the profile ({_listed(partitions)})"
            )
        if named not in partitions:
            raise UserError(
                f"partition {named!r} is not in this cluster; mend slurm_partition in the profile ({_listed(partitions)})"
            )
        found = partitions[named]
        what, key = f"{job.rule} {job.name}".strip(), _Key(job.rule, job.name)
        unknown = sorted(job.kinds - found.kinds)
        if unknown:
            raise UserError(
                f"{what} asks for {unknown[0]}, which no node of partition {named} has; mend gres or gpu_model in the profile "
                f"(there are: {', '.join(sorted(found.kinds)) or 'none'})"
            )
        if job.gpus > found.gpus:
            plural = "" if job.gpus == 1 else "s"
            has = f"have {found.gpus} at most" if found.gpus else "have none (Gres of slurm.conf, `sinfo -o '%R %G'`)"
            raise UserError(
                f"{what} needs {job.gpus} GPU{plural} on one node, and the nodes of partition {named} {has}; "
                f"choose another partition, or mend {key('gpus')}"
            )
        if job.mem_mb > found.mem_mb:
            raise UserError(
                f"{what} asks for {job.mem_mb} MB, and the nodes of partition {named} have {found.mem_mb} at most; "
                f"choose another partition, or lower {key('memory_gb')}"
            )
        if found.minutes is not None and job.minutes > found.minutes:
            raise UserError(
                f"{what} asks for {job.minutes} minutes, and partition {named} allows {found.minutes:g}; choose another, "
                f"lower {key('minutes')}, or say resources.most_minutes (a measurement that is ended goes on)"
            )


def ask_evenly() -> None:
    """Have the executor ask for its jobs every `--seconds-between-status-checks`.

    By itself it waits ten seconds more after each answer that no job has ended, up to three minutes, whatever that option says:
    a minute on average for jobs of an hour, in which the GPUs of a run of few jobs have nothing to do. It asks for all at once.
    An interface of another version, which has it elsewhere, waits as it does: that costs time and no result.
    """
    try:
        executor = importlib.import_module("snakemake_interface_executor_plugins.executors.remote").RemoteExecutor
    except (ImportError, AttributeError):
        return
    executor.next_seconds_between_status_checks = property(
        lambda self: self.workflow.remote_execution_settings.seconds_between_status_checks, lambda self, seconds: None
    )


def ended_by_slurm(logs: Path, since: float, folder: str | Path) -> Iterator[str]:
    """A line for each job of which SLURM has ended the last attempt, with the key to mend.

    Args:
        logs: the executor's folder of logs: rule_<rule>/<wildcards>/<SLURM's number>.log. That of an attempt that ended well is
            deleted, and one that was ended while it waited has none.
        since: the time at which the run began, in seconds since the epoch.
        folder: the working folder of the run; jobs of the same user that other ones submitted are none of it.
    """
    last = _newest_logs(logs, since)
    attempts, with_logs = _attempts(folder), {*last.values()}  # a group's comment has another name than its folder
    for number, attempt in attempts.items():
        later = number not in with_logs and int(number) > int(last.get(attempt.folder, 0))
        if later and attempt.submitted + 1 > since:
            last[attempt.folder] = number
    for below, number in last.items():
        rule, *wildcards = below.parts
        rule, name = rule.removeprefix("rule_"), "/".join(wildcards)
        text, key = _text(logs / below / f"{number}.log"), _Key(rule, name)
        known = attempts[number].ending if number in attempts else None
        ending = next((kind for kind, pattern in ENDINGS if re.search(pattern, text)), known)
        mend = {
            "time": f"ran out of time; raise {key('minutes')}{key.unless('most_minutes')}",
            "memory": f"ran out of memory; raise {key('memory_gb')}{key.unless('most_memory_gb')}",
            "node": "lost its node; run again (`sinfo -R` tells which and why), with --slurm-requeue SLURM does it by itself",
            "preempted": "was ended for a job that goes first; run again, in a partition or with a slurm-qos where none does",
            "deadline": "was ended at a deadline; run again, without SBATCH_DEADLINE or --deadline",
            "cancelled": "was cancelled; run again",
        }
        if ending is not None:
            yield f"{rule} {name}: SLURM job {number} {mend[ending]}".replace(" :", ":")


def _newest_logs(logs: Path, since: float) -> dict[Path, str]:
    """SLURM's number of the newest log in each folder below `logs`. Another run may delete its own meanwhile."""
    dated = []
    for log in (*logs.glob("rule_*/**/[0-9]*.log"), *logs.glob("group_*/**/[0-9]*.log")):
        with suppress(FileNotFoundError):
            dated.append((log.stat().st_mtime, log))
    return {log.parent.relative_to(logs): log.stem for time, log in sorted(dated) if time >= since}


def _text(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


@dataclass(frozen=True)
class _Attempt:
    """A job of SLURM. Attributes: folder: of its logs; submitted: seconds since the epoch; ending: if SLURM has ended it."""

    folder: Path
    submitted: float
    ending: str | None


def _attempts(folder: str | Path) -> dict[str, _Attempt]:
    """This user's jobs that Snakemake submitted in `folder`, by SLURM's number, in their order; none where it does not answer."""
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%r|%V|%k|%Z"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, _Attempt] = {}
    for line in told.splitlines():
        # The comment is rule_<rule> or rule_<rule>_wildcards_<wildcards>.
        line = line.strip().removesuffix(f"|{folder}")
        if job := re.fullmatch(r"(\d+)\|([^|]+)\|([^|]*)\|([\dT:-]+)\|rule_(\w+?)(?:_wildcards_([^|]+))?", line):
            number, state, reason, submitted, rule, wildcards = job.groups()
            # "CANCELLED by 0" is how some versions have it.
            ending = STATES.get(reason if state == "FAILED" else state.partition(" ")[0])
            seconds = time.mktime(time.strptime(submitted, "%Y-%m-%dT%H:%M:%S"))
            found[number] = _Attempt(Path(f"rule_{rule}", wildcards or ""), seconds, ending)
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


@dataclass(frozen=True)
class _Key:
    """Where a user says what a job asks for."""

    rule: str
    name: str

    def __call__(self, field: str) -> str:
        if self.rule in TOKENS:
            owner = self.name.rpartition(".")[0] if self.rule in ("variant", "shard") else self.name
            return f"resources.{field} of checkpoint {owner} in the study"
        if self.rule.startswith("group_"):
            return "what its jobs ask for, or make the group smaller"
        resource = {"gpus": "gpu", "memory_gb": "mem_mb", "minutes": "runtime"}[field]
        return f"set-resources: {self.rule}: {resource} in the profile"

    def unless(self, most: str) -> str:
        """What else to raise, where the study has a limit for all of its jobs."""
        return f" (and resources.{most}, where that is less)" if self.rule in TOKENS else ""


def _partitions() -> dict[str, _Partition]:
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%P|%G|%m|%l"], capture_output=True, text=True, timeout=60, check=True
        )
    except FileNotFoundError:
        raise UserError(
            "no SLURM here: there is no sinfo; run where jobs are submitted, or without this profile"
        ) from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"SLURM does not answer ({' '.join(error.stderr.split())[:200]}); see `sinfo`") from None
    except subprocess.TimeoutExpired:
        raise UserError("SLURM does not answer within a minute; see `sinfo`") from None
    found: dict[str, _Partition] = {}
    for line in done.stdout.splitlines():
        name, gres, memory, limit = line.strip().split("|")
        default, name = name.endswith("*"), name.removesuffix("*")
        known = found.get(name, _Partition(0, 0, minutes_of(limit), default))
        kinds = known.kinds | kinds_in(gres)
        # Memory ends with a plus where nodes differ.
        memory_mb = int(memory.rstrip("+"))
        most = max(known.gpus, gpus_in(gres)), max(known.mem_mb, memory_mb)
        found[name] = _Partition(*most, known.minutes, default, kinds)
    return found


def kinds_in(gres: str) -> frozenset[str]:
    """Names in a list of SLURM's generic resources, with and without their type: of `gpu:a100:4(S:0-1)` gpu and gpu:a100."""
    entries = [
        [part for part in entry.split(":") if part and not part.isdigit()]
        for entry in re.sub(r"\([^)]*\)", "", gres).split(",")
    ]
    return frozenset(":".join(entry[:length]) for entry in entries for length in range(1, len(entry) + 1))


def minutes_of(limit: str) -> float | None:
    """Of `days-hours:minutes:seconds` and what is shorter; None of `infinite`."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+)*", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds: int = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    return int(days or 0) * 24 * 60 + seconds / 60


def _listed(partitions: dict[str, _Partition]) -> str:
    return f"there are: {', '.join(partitions) or 'none'}"
