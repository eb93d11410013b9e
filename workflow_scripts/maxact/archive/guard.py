"""Whether a checkout would compute what an archive cannot supply: told instead of computed, with the commit to use.

A job whose key stamp is that of the archive is in the store that was imported. One with another stamp can be computed where
all that it reads is there: a figure from its frames, tables from measurements. Weights and text are in no archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxact.archive.record import IMPORTED, STUDY_FILE, Record
from maxact.errors import UserError
from maxact.stages import STAGES, uses_of
from maxact.store.job import used_objects
from maxact.store.keys import STAMPS
from maxact.store.objects import Manifest, Store, digest_text


@dataclass(frozen=True)
class Wanted:
    """A job that a run is about to do.

    Attributes:
        inputs: the manifests that it reads, by source; None for one that is not there.
        published: objects that it copies to where people look.
    """

    stage: str
    name: str
    stamp: str
    manifest: Manifest | None
    inputs: Mapping[str, Manifest | None]
    published: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}"


def lacking(
    record: Record, jobs: Iterable[Wanted], has: Store | None, held: frozenset[str]
) -> Iterator[tuple[Wanted, bool]]:
    """The jobs that need what is neither in the store nor among `held`, each with whether its key is another than the archive's.

    Args:
        has: the store, if anything has been imported.
        held: digests of objects that are there beside it.
    """

    def is_there(names: Iterable[str], manifest: Manifest) -> bool:
        items = [manifest.objects[name] for name in names if name in manifest.objects]
        return all(item.sha256 in held or (has is not None and has.path(item).exists()) for item in items)

    for job in jobs:
        stamp = record.stamps.get(str(job))
        changed = stamp is not None and stamp != digest_text(job.stamp)
        if not changed and job.manifest is not None:
            if not is_there(job.published, job.manifest):
                yield job, False
        elif STAGES[job.stage].opens_sources or any(
            above is None or not is_there(used_objects(source, above, uses_of(job.stage, job.name)), above)
            for source, above in job.inputs.items()
        ):
            yield job, changed


def refuse_beyond_archive(
    folder: Path, jobs: Iterable[tuple[Path, Mapping[str, Path | list[Path]], Sequence[Path]]]
) -> None:
    """Stop a run of an imported study before it computes what needs weights or text.

    Args:
        folder: of the study's manifests.
        jobs: of each job the path of its manifest, its inputs by name, and its other outputs.

    Raises:
        UserError: names the commit that made the archive.
    """
    file = folder / IMPORTED
    if not file.exists():
        return
    record = Record.from_json(file.read_bytes(), str(file))
    wanted = [_wanted(*job) for job in jobs]
    found = list(lacking(record, wanted, Store(folder.parent), frozenset()))
    if not found:
        return
    changed = [job for job, other in found if other]
    if changed:
        raise UserError(
            f"{folder}: came out of an archive of {record.told()}, and this checkout or study would compute "
            f"{several(changed)} anew; {record.remedy(_study_file(folder))}, or delete {file} to compute here"
        )
    raise UserError(
        f"{folder}: came out of an archive that has not what {several([job for job, _ in found])} needs; import one that has, or "
        f"delete {file} to compute here"
    )


def _study_file(folder: Path) -> Path | None:
    """The study file that came with the archive: another one makes other keys at the same commit too."""
    return next(iter(sorted(folder.glob(f"{STUDY_FILE}*.y*ml"))), None)


def several(jobs: Sequence[Wanted]) -> str:
    """The first of them, and how many more there are."""
    return f"{jobs[0]}" + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")


def _wanted(path: Path, inputs: Mapping[str, Path | list[Path]], outputs: Sequence[Path]) -> Wanted:
    stamp = path.parents[1] / "keys" / path.parent.name / path.name
    above: dict[str, Manifest | None] = {}
    for source, files in inputs.items():
        for file in [files] if isinstance(files, Path) else files:
            if source not in STAMPS and file.suffix == ".json":
                above[f"{source}/{file.stem}"] = Manifest.read(file) if file.exists() else None
    manifest = Manifest.read(path) if path.exists() else None
    published = [file.name for file in outputs if file != path]
    return Wanted(path.parent.name, path.stem, stamp.read_text(encoding="utf-8").strip(), manifest, above, published)
