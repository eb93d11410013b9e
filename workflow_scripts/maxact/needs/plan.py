"""`maxact plan`: what the jobs of a study need, as a table with totals or as JSON, before any of them runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from maxact.needs.jobs import Needs
from maxact.needs.lookup import Lookup
from maxact.study import Hub, Study

HEAD = ("checkpoint", "job", "jobs", "GPUs", "GB a GPU", "memory GB", "minutes", "disk GB", "")
LONG = 240
"""Expected minutes of a measurement beyond which shards are suggested."""
TARGETS = {"variant": "sensitivity", "sensitivity": "sensitivity"}
"""Stages that a run makes only when it is asked to, with `snakemake <target>`."""


@dataclass(frozen=True)
class Line:
    """Jobs of one stage, and of one checkpoint where they have one, that need about the same: the most that one does."""

    checkpoint: str | None
    stage: str
    jobs: int
    needs: Needs
    gpu_hours: float
    remark: str


@dataclass(frozen=True)
class Plan:
    """Attributes: lines; hours of GPUs as expected, and as asked for with margins; GB of disk at most and when all is done;
    checkpoints of which nothing is known; whether the study keeps weights."""

    lines: Sequence[Line]
    gpu_hours: float
    gpu_hours_asked: float
    peak_disk_gb: float
    final_disk_gb: float
    unknown: Sequence[str]
    keeps: bool

    def to_json(self) -> str:
        """One object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """A table, and totals below it."""
        rows = [HEAD, *(_cells(line) for line in self.lines)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        text = []
        for row in rows:
            cells = [
                cell.ljust(width) if column < 2 or column == len(HEAD) - 1 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            text.append("  ".join(cells).rstrip())
        return "\n".join([*text, *self._totals()])

    def _totals(self) -> list[str]:
        weights = "weights stay" if self.keeps else "if all weights are there at once; they go when measured"
        known = " of the jobs whose size is known" if self.unknown else ""
        told = [
            f"GPU-hours: {self.gpu_hours:,.1f} expected{known}, {self.gpu_hours_asked:,.1f} asked for at most",
            f"disk: {self.peak_disk_gb:,.1f} GB at most ({weights}), {self.final_disk_gb:,.1f} GB when all is done",
        ]
        if self.unknown:
            told.append(
                f"unknown: {len(self.unknown)} checkpoints ({', '.join(self.unknown[:3])}{', ...' * (len(self.unknown) > 3)}); "
                "their jobs are given what resources.unknown of the study says"
            )
        return [*told, "estimates: docs/resources.md has the formula; what no GPU has shown is a guess"]


def plan(study: Study, store: Path) -> Plan:
    """The plan of a study.

    Args:
        store: the folder of artifacts; it need not exist.
    """
    lookup = Lookup(study, store)
    groups: dict[tuple[str | None, str], list[Needs]] = {}
    for stage, _, checkpoint, needs in lookup.every():
        groups.setdefault((checkpoint, stage), []).append(needs)
    lines = [_line(study, checkpoint, stage, needs) for (checkpoint, stage), needs in groups.items()]
    own = [line for line in lines if line.stage not in TARGETS]
    disk = {
        kind: sum(line.needs.disk_gb * line.jobs for line in own if (line.stage == "checkpoint") == kind)
        for kind in (True, False)
    }
    return Plan(
        lines=lines,
        gpu_hours=sum(line.gpu_hours for line in own),
        gpu_hours_asked=sum(line.needs.gpus * line.needs.minutes * line.jobs for line in own) / 60,
        peak_disk_gb=disk[True] + disk[False],
        final_disk_gb=disk[False] + (disk[True] if study.keep_weights else 0.0),
        unknown=[item.name for item in study.checkpoints if lookup.shape(item.name) is None],
        keeps=study.keep_weights,
    )


def _line(study: Study, checkpoint: str | None, stage: str, each: Sequence[Needs]) -> Line:
    fields = ("gpus", "gpu_memory_gb", "memory_gb", "minutes", "disk_gb", "expected_minutes")
    most = Needs(**{field: max(getattr(needs, field) for needs in each) for field in fields}, known=each[0].known)
    hours = sum(needs.gpus * needs.expected_minutes for needs in each) / 60
    remarks = [f"snakemake {TARGETS[stage]}"] if stage in TARGETS else []
    if checkpoint is not None and not most.known:
        hub = isinstance(study.checkpoint(checkpoint).source, Hub)
        remarks.append("unknown until pinned (maxact pin)" if hub else "unknown until its weights are taken")
    if stage == "measure" and most.expected_minutes > LONG and study.measure.batch_tokens is None:
        remarks.append(f"shards: {math.ceil(most.expected_minutes / LONG)} would take about {LONG / 60:g} hours each")
    own = checkpoint and study.checkpoint(checkpoint).resources.gpu_memory_gb
    device = own or study.resources.gpu_memory_gb
    if most.gpu_memory_gb > device:
        remarks.append(f"more than a GPU of {device:g} GB has: give more gpus, or gpu_memory_gb of larger ones")
    return Line(checkpoint, stage, len(each), most, hours, "; ".join(remarks))


def _cells(line: Line) -> tuple[str, ...]:
    needs = line.needs
    gpus = (str(needs.gpus), f"{needs.gpu_memory_gb:,.1f}" if needs.known else "?") if needs.gpus else ("", "")
    numbers = (f"{needs.memory_gb:,.1f}", f"{needs.minutes:,}", f"{needs.disk_gb:,.1f}")
    return (line.checkpoint or "", line.stage, str(line.jobs), *gpus, *numbers, line.remark)
