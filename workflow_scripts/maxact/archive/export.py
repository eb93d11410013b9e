"""Write an archive: what it takes to show and redraw a study's tables and figures, and on request what they are made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxact import __version__
from maxact.archive.record import LOCKS, RECORD, STUDY_FILE, UNASKED, Record, commit_here
from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.recipes import recipes
from maxact.remeasure import hold_study
from maxact.results.registry import TABLES, made_of
from maxact.stages import STAGES
from maxact.store.environment import CHECKOUT
from maxact.store.exchange import reached
from maxact.store.objects import Manifest, Store, StoredObject, canonical, digest_file, digest_text
from maxact.store.show import current
from maxact.study import PublishedStudy, Study, load_any_study
from maxact.study.mistakes import meant
from maxact.study.named import warn_of_name
from maxact.study.pins import lock_file, pin_name
from maxact.study.published import GivenPin

_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file in an archive, so that equal content gives equal bytes."""


@dataclass(frozen=True)
class Exported:
    """An archive that was written: its file, its digest, what it says of itself."""

    file: Path
    sha256: str
    record: Record

    def to_text(self) -> str:
        """For people."""
        size = self.file.stat().st_size
        has = f"{len(self.record.figures)} figures, {len(self.record.tables)} tables"
        has += ", with measurements" if self.record.measurements else ""
        what = f"study {self.record.study}, {self.record.told()}: {has}"
        return f"{self.file}: {what}; {len(self.record.files)} files, {size:,} bytes\nSHA-256 {self.sha256}"


def export(
    study_file: Path,
    store: Store,
    target: Path,
    figures: Sequence[str] = (),
    tables: Sequence[str] = (),
    measurements: bool = False,
) -> Exported:
    """Write an archive of a study as this checkout has made it.

    Args:
        target: the file, which must not be there.
        figures, tables: names of those that are wanted; all, if none is named.
        measurements: whether what tables are made from goes along.

    Raises:
        UserError: an unknown name, the study is not finished or not what this checkout would make, an object is missing or
            damaged, or the file cannot be written.
    """
    study, lock = _as_made(study_file, store)
    warn_of_name(study.study, study_file, store.root)
    known_figures, known_tables = made_of(FIGURES, study.provides), made_of(TABLES, study.provides)
    _refuse_unknown("figure", figures, known_figures)
    _refuse_unknown("table", tables, known_tables)
    if target.exists():
        raise UserError(f"{target}: is there already; delete it or choose another name")
    hold_study(study, store, to_read=True)
    everything = not (figures or tables)
    shown = tuple(known_figures if everything else dict.fromkeys(figures))
    stamps, manifests = {}, {}
    for path, stamp in _jobs(study, store, shown, everything):
        manifests[path] = _finished(path, stamp, store, study_file)
        stamps[f"{path.parent.name}/{path.stem}"] = stamp
    contents = dict(_small_files(study_file, lock, study.study, stamps, manifests, store))
    for item in _objects(manifests.values(), shown, everything, bool(everything or tables), measurements):
        contents[store.path(item).relative_to(store.root).as_posix()] = _whole(item, store, study_file)
    commit, clean = commit_here()
    record = Record(
        study=study.study,
        study_file=_in_checkout(study_file),
        commit=commit,
        clean=clean,
        version=__version__,
        figures=shown,
        tables=tuple(known_tables) if everything or tables else (),
        measurements=measurements,
        stamps={name: digest_text(text) for name, text in sorted(stamps.items())},
        files={name: _measure(content) for name, content in sorted(contents.items())},
    )
    _write(target, record, contents)
    return Exported(target, digest_file(target), record)


def _refuse_unknown(kind: str, asked: Sequence[str], known: Collection[str]) -> None:
    for name in asked:
        if name not in known:
            hint = meant(name, known) or f"; they are {', '.join(known)}"
            raise UserError(f"--{kind} {name}: no such {kind}{hint}")


def _jobs(
    study: Study | PublishedStudy, store: Store, figures: Collection[str], everything: bool
) -> Iterator[tuple[Path, str]]:
    """The manifest and the key stamp of every job that goes along; of what no table is made from, if it has run."""
    for job, recipe in recipes(study, LOCKS):
        path = store.root / study.study / job.stage / f"{job.name}.json"
        left_out = job.stage == "figures" and job.name not in figures
        left_out |= job.stage in UNASKED and not (everything and path.exists())
        if not left_out:
            yield path, canonical(recipe)


def _whole(item: StoredObject, store: Store, study_file: Path) -> Path:
    path = store.path(item)
    if not store.have(item):
        raise UserError(f"{path}: missing or damaged; run snakemake --configfile {study_file} again, which makes it")
    return path


def _as_made(study_file: Path, store: Store) -> tuple[Study | PublishedStudy, bytes | None]:
    """The study as the store has it, and its lock file.

    Published results may be of a folder that was given. The archive's lock file then has the digests of its files, so that
    another machine makes the same keys and needs no folder.
    """
    study, lock = load_any_study(study_file), lock_file(study_file)
    text = lock.read_bytes() if lock.exists() else None
    if not isinstance(study, PublishedStudy):
        return study, text
    study = study.without_folder()
    path = store.root / study.study / "published" / "published.json"
    files = Manifest.read(path).recipe["parameters"].get("files") if path.exists() else None
    if files is None or files == study.published.digests():
        return study, text
    pin = GivenPin(given=files)
    name = pin_name(study.published.repository, study.published.commit)
    told = json.dumps({"published": {name: pin.model_dump()}}, indent=2, sort_keys=True, ensure_ascii=False)
    return study.without_folder(pin), f"{told}\n".encode()


def _finished(path: Path, stamp: str, store: Store, study_file: Path) -> Manifest:
    """The manifest of a job, if it is what this checkout would make."""
    run = f"run snakemake --cores all --configfile {study_file} first"
    if not path.exists():
        raise UserError(f"{path}: not made yet; {run}")
    manifest = Manifest.read(path)
    if manifest.recipe != json.loads(stamp):
        raise UserError(f"{path}: made by other code, packages or settings than those of this checkout; {run}")
    if manifest.objects and (verdict := current(path, manifest, store)).startswith("no"):
        raise UserError(f"{path}: not up to date ({verdict.removeprefix('no: ')}); {run}")
    return manifest


def _small_files(
    study_file: Path,
    lock: bytes | None,
    study: str,
    stamps: Mapping[str, str],
    manifests: Mapping[Path, Manifest],
    store: Store,
) -> Iterator[tuple[str, bytes | Path]]:
    """Path in the archive and content of all but objects."""
    for name, text in stamps.items():
        yield f"{study}/keys/{name}.json", (text + "\n").encode()
    for path in manifests:
        yield path.relative_to(store.root).as_posix(), path
    for key in reached((manifest.key for manifest in manifests.values()), store):
        yield f"actions/{key}.json", store.root / "actions" / f"{key}.json"
    yield f"{study}/{STUDY_FILE}{study_file.name}", study_file
    if lock is not None:
        yield f"{study}/{STUDY_FILE}{lock_file(study_file).name}", lock


def _objects(
    manifests: Iterable[Manifest],
    figures: Sequence[str],
    everything: bool,
    tables: bool,
    measurements: bool,
) -> Iterator[StoredObject]:
    """What goes along of what each job has made."""
    read = {name for figure in figures for name in FIGURES[figure].reads}
    for manifest in manifests:
        archived = STAGES[manifest.stage].archived
        if archived == "always" or (archived == "measurements" and measurements):
            # One rule publishes all tables and pages; frames alone are for figures.
            partly = manifest.stage == "results" and not everything
            for name, item in manifest.objects.items():
                if not partly or name in read or (tables and not name.endswith(".parquet")):
                    yield item


def _in_checkout(file: Path) -> str:
    path = file.resolve()
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT) else file.name


def _measure(content: bytes | Path) -> tuple[str, int]:
    """Digest and size."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    return digest_file(content), content.stat().st_size


def _write(target: Path, record: Record, contents: Mapping[str, bytes | Path]) -> None:
    """The archive, whole or not at all. Nothing in it is compressed: Parquet is already, and zlib's bytes differ by version."""
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(_entry(RECORD), record.to_json())
            for name, content in sorted(contents.items()):
                if isinstance(content, bytes):
                    archive.writestr(_entry(name), content)
                    continue
                entry = _entry(name)
                entry.file_size = record.files[name][1]
                with content.open("rb") as source, archive.open(entry, "w") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.create_system = 3  # Unix, wherever it is written
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry
