"""The needs of every job of a study, by stage and name: what the rules ask, and what `maxact plan` lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maxact.needs.jobs import Needs, needs_of
from maxact.needs.passes import Change
from maxact.needs.shapes import shape_of_checkpoint
from maxact.recipes import jobs
from maxact.study import Study
from maxact.study.sensitivity import variants
from maxact.study.shape import Shape

OF_PUBLISHED = Needs(memory_gb=2.0, expected_minutes=0.5)
"""Of every job of a study of published results, none of which opens weights or text; 27 checkpoints take 0.25 GB at most."""

OF_CHECKPOINTS = (
    "checkpoint",
    "loading_check",
    "measure",
    "shard",
    "evaluate",
    "variant",
    "quantize",
    "perplexity",
    "paper_check",
)
"""Stages with a job for each checkpoint, or for several variants of it."""


class Lookup:
    """Needs of the jobs of one study. A shape is looked up once.

    Args:
        study: whose jobs.
        store: the folder of artifacts, which may know a checkpoint that nothing else describes.
    """

    def __init__(self, study: Study, store: Path) -> None:
        self._study, self._store = study, store
        self._shapes: dict[str, Shape | None] = {}
        self._changes = {name: (setting, value) for name, setting, value in variants(study) if setting is not None}

    def of(self, stage: str, name: str) -> Needs:
        """What the job of that stage and name needs."""
        if stage not in OF_CHECKPOINTS:
            return needs_of(self._study, stage)
        checkpoint, change = self._named(stage, name)
        return needs_of(self._study, stage, self._study.checkpoint(checkpoint), self.shape(checkpoint), change)

    def asked(self, stage: str, name: str, attempt: int = 1) -> dict[str, int]:
        """The same as Snakemake has it, of the first attempt or a later one; never more than the study's machines have."""
        found, most = self.of(stage, name).resources(attempt), self._study.resources
        if most.most_minutes is not None:
            found["runtime"] = min(found["runtime"], most.most_minutes)
        if most.most_memory_gb is not None:
            found["mem_mb"] = min(found["mem_mb"], int(most.most_memory_gb * 1000))
        return found

    def shape(self, checkpoint: str) -> Shape | None:
        """The shape of a checkpoint, or None where nothing tells it yet."""
        if checkpoint not in self._shapes:
            found = shape_of_checkpoint(self._study, self._study.checkpoint(checkpoint), self._store)
            self._shapes[checkpoint] = found
        return self._shapes[checkpoint]

    def every(self) -> Iterator[tuple[str, str, str | None, Needs]]:
        """Stage, name, checkpoint (None where the job has none) and needs of every job."""
        for job in jobs(self._study):
            own = self._named(job.stage, job.name)[0] if job.stage in OF_CHECKPOINTS else None
            yield job.stage, job.name, own, self.of(job.stage, job.name)

    def _named(self, stage: str, name: str) -> tuple[str, Change | None]:
        if stage == "shard":
            return name.rpartition(".")[0], None
        if stage != "variant":
            return name, None
        checkpoint = max((each.name for each in self._study.checkpoints if name.startswith(f"{each.name}.")), key=len)
        return checkpoint, self._changes.get(name[len(checkpoint) + 1 :])


class LookupOfPublished:
    """The same for a study of published results."""

    def of(self, stage: str, name: str) -> Needs:
        """What any of its jobs needs."""
        return OF_PUBLISHED

    def asked(self, stage: str, name: str, attempt: int = 1) -> dict[str, int]:
        """The same as Snakemake has it."""
        return self.of(stage, name).resources(attempt)
