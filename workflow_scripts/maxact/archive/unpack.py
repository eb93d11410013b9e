"""Read an archive into a store: every digest is compared before anything is put where it counts.

An archive may come from anywhere. Only regular files with paths that a store has are taken, each once, of the size and the
digest that `archive.json` says; objects must have the digest that is their name. Nothing in it is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import struct
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from maxact.archive.guard import Wanted, lacking, several
from maxact.archive.provenance import manifests_of, refuse_unfounded
from maxact.archive.record import IMPORTED, LOCKS, RECORD, UNASKED, Record, is_allowed
from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.recipes import recipes
from maxact.results.registry import TABLES
from maxact.store.disk import write_atomically
from maxact.store.environment import CHECKOUT
from maxact.store.objects import Manifest, Store, canonical, digest_file
from maxact.store.workspace import hold_workspace
from maxact.study import PublishedStudy, load_any_study
from maxact.study.pins import lock_file

_LARGEST_RECORD = 256 << 20
_CHUNK = 1 << 20
_ENCRYPTED = 0x61
"""Flags of an entry that is encrypted, strongly encrypted, or a patch."""


@dataclass(frozen=True)
class Unpacked:
    """What was imported.

    Attributes:
        redrawn: jobs that this checkout would compute anew from what was imported.
        study_file: with which to draw.
    """

    file: Path
    sha256: str
    record: Record
    folder: Path
    redrawn: tuple[str, ...]
    study_file: Path

    def to_text(self) -> str:
        """For people, with the command to go on with."""
        shown = [f"figures/{name}.pdf" for name in self.record.figures] or [f"tables/{self.record.tables[0]}.csv"]
        lines = [
            f"{self.file} (SHA-256 {self.sha256}): {len(self.record.files)} files into {self.folder}",
            f"made by {self.record.told()}",
        ]
        if self.redrawn:
            more = f" and {len(self.redrawn) - 1} more" if len(self.redrawn) > 1 else ""
            lines.append(
                f"note: this checkout makes {self.redrawn[0]}{more} anew, from what was imported; {self.record.remedy()}"
            )
        target = f"reports/{self.record.study}/{shown[0]}"
        lines.append(
            f"go on with: .venv/bin/snakemake --cores 1 {target} --configfile {shlex.quote(str(self.study_file))}"
        )
        return "\n".join(lines)


def unpack(file: Path, store: Store, anyway: bool = False) -> Unpacked:
    """Put an archive into a store.

    Args:
        anyway: also where this checkout would compute something else and cannot from what the archive has.

    Raises:
        UserError: no whole archive, something in it is not what it says, the study is here with other content, a run is at
            work, the disk is full, or this checkout would compute something else; nothing is left half done.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            record = _record(archive, file)
            hold_workspace(store.root / record.study)
            with store.scratch() as scratch:
                for path, (digest, size) in record.files.items():
                    _extract(archive, file, path, scratch / path, digest, size)
                manifests = manifests_of(scratch, record, file)
                redrawn = _compare(file, scratch, record, manifests, store, anyway)
                refuse_unfounded(scratch, record, manifests, file)
                guarded = _refuse_other_content(scratch, record, manifests, store)
                _place(scratch, record, manifests, store, guarded)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, struct.error):
        raise UserError(f"{file}: no whole archive; get it again") from None
    except OSError as error:
        if error.filename is not None and Path(error.filename) == file:
            what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise UserError(f"{file}: {what}; give what `maxact export` has written") from None
        if isinstance(error, FileNotFoundError):
            raise
        raise UserError(f"{store.root}: cannot be written ({error.strerror}); free space or mend permissions") from None
    folder = store.root / record.study
    return Unpacked(file, digest_file(file), record, folder, redrawn, _study_file(record, folder))


def _record(archive: zipfile.ZipFile, file: Path) -> Record:
    """`archive.json`, if the archive has what it says, and nothing else."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if RECORD not in names or archive.getinfo(RECORD).file_size > _LARGEST_RECORD:
        raise UserError(f"{file}: not an archive of maxact; give what `maxact export` has written")
    for entry in entries:
        kind = entry.external_attr >> 28  # the type of file, as Unix has it
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED or kind not in (0, 8):
            raise UserError(
                f"{file}: {entry.filename!r} is compressed, encrypted or a link; it is not from `maxact export`"
            )
    record = Record.from_json(archive.read(RECORD), str(file))
    for name in names:
        if name != RECORD and not is_allowed(name, record.study):
            raise UserError(f"{file}: has {name!r}, which belongs in no store; it is not from `maxact export`")
    for kind_of, shown, known in (("figure", record.figures, FIGURES), ("table", record.tables, TABLES)):
        if other := [name for name in shown if name not in known]:
            raise UserError(f"{file}: has a {kind_of} {other[0]}, which this checkout has not; {record.remedy()}")
    if len(set(names)) != len(names) or set(names) != {RECORD, *record.files}:
        raise UserError(f"{file}: has other files than its {RECORD} says; get the archive again")
    return record


def _extract(archive: zipfile.ZipFile, file: Path, path: str, target: Path, digest: str, size: int) -> None:
    """One file into the scratch folder, if its bytes are those that it should have."""
    target.parent.mkdir(parents=True, exist_ok=True)
    found, left = hashlib.sha256(), size
    # At most what was said is written, whatever the archive holds.
    with archive.open(path) as source, target.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            found.update(chunk)
            copy.write(chunk)
    named = target.name.partition(".")[0] if path.startswith("objects/") else digest
    if left or found.hexdigest() != digest or named != digest:
        raise UserError(f"{file}: {path} has not the digest that it should have; get the archive again")


def _compare(
    file: Path,
    scratch: Path,
    record: Record,
    manifests: Mapping[str, Manifest],
    store: Store,
    anyway: bool,
) -> tuple[str, ...]:
    """Jobs that this checkout makes anew from what the archive has.

    Raises:
        UserError: it would also make what cannot be made from that; says which commit to use.
    """
    own = next((path for path in record.files if path.endswith((".yaml", ".yml"))), None)
    if own is None:
        raise UserError(f"{file}: has no study file; get the archive again")
    try:
        wanted = list(_wanted(scratch, scratch / own, record, manifests))
    except UserError as error:
        if anyway:
            return ()
        raise UserError(f"{file}: this checkout cannot read its study ({error}); {record.remedy()}") from None
    changed = [job for job in wanted if record.stamps.get(str(job)) != hashlib.sha256(job.stamp.encode()).hexdigest()]
    held = frozenset(Path(path).name.partition(".")[0] for path in record.files if path.startswith("objects/"))
    blocked = [job for job, _ in lacking(record, changed, store, held)]
    if blocked and not anyway:
        raise UserError(
            f"{file}: made by {record.told()}; this checkout would compute {several(blocked)} anew, which takes more than the "
            f"archive has; {record.remedy()}, or say --anyway"
        )
    return tuple(map(str, changed))


def _wanted(scratch: Path, study_file: Path, record: Record, manifests: Mapping[str, Manifest]) -> Iterator[Wanted]:
    """What this checkout makes of the archive's study for what the archive shows, with the archive's own inputs."""
    study = load_any_study(study_file)
    if isinstance(study, PublishedStudy):
        study = study.without_folder()  # which may have other files than those that the archive is of
    for job, recipe in recipes(study, LOCKS):
        name = f"{job.stage}/{job.name}"
        other = job.stage in UNASKED and name not in record.stamps
        if other or (job.stage == "figures" and job.name not in record.figures):
            continue
        manifest = manifests.get(f"{record.study}/{name}.json")
        above: dict[str, Manifest | None] = {} if manifest else {"nothing": None}
        if manifest is not None and manifest.objects:
            action = scratch / "actions" / f"{manifest.key}.json"
            inputs = json.loads(action.read_text(encoding="utf-8"))["inputs"] if action.exists() else {"nothing": ""}
            for source, key in inputs.items():
                upstream = scratch / "actions" / f"{key}.json"
                fields = json.loads(upstream.read_text(encoding="utf-8")) if upstream.exists() else None
                above[source] = Manifest.of_record(fields) if fields else None
        yield Wanted(job.stage, job.name, canonical(recipe), manifest, above)


def _refuse_other_content(scratch: Path, record: Record, manifests: Mapping[str, Manifest], store: Store) -> bool:
    """Whether the study is to be guarded: it came out of archives alone.

    Raises:
        UserError: the store has other results of the same names.
    """
    folder = store.root / record.study
    elsewhere = f"move {folder} away, or say --store with a new folder"
    for path, manifest in manifests.items():
        here = store.root / path
        if here.exists() and _made(Manifest.read(here)) != _made(manifest):
            raise UserError(f"{here}: is here with other content than in the archive; {elsewhere}")
    for path in record.files:
        if path.startswith("actions/"):
            mine = store.action(Path(path).stem)
            theirs = json.loads((scratch / path).read_text(encoding="utf-8"))
            if mine is not None and mine["objects"] != theirs["objects"]:
                raise UserError(f"{store.root / path}: has made other bytes here than in the archive; {elsewhere}")
    return (folder / IMPORTED).exists() or not any(store.root.glob(f"{record.study}/*/*.json"))


def _made(manifest: Manifest) -> tuple[str, dict[str, str]]:
    return manifest.key, {name: item.sha256 for name, item in manifest.objects.items()}


def _place(scratch: Path, record: Record, manifests: Mapping[str, Manifest], store: Store, guarded: bool) -> None:
    """Objects, then records, then what names them: whatever stops this leaves nothing that names what is not there."""

    def rank(path: str) -> int:
        return 0 if path.startswith("objects/") else 1 if path.startswith("actions/") else 2 if "/keys/" in path else 3

    if guarded:
        file = store.root / record.study / IMPORTED
        write_atomically(file, _together(record, file).to_json())
    now = time.time_ns()
    for path in sorted(record.files, key=lambda path: (rank(path), path)):
        source, target = scratch / path, store.root / path
        if rank(path) == 0:
            store.put(source)
        elif rank(path) == 3 or not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # One time for all: to Snakemake nothing is newer than what was made from it.
            os.utime(source, ns=(now, now))
            os.replace(source, target)
    for manifest in manifests.values():
        for item in manifest.objects.values():
            store.note_absent(item)


def _together(record: Record, file: Path) -> Record:
    """What is known of the archives that a study came out of, with one more.

    Raises:
        UserError: they are not of the same keys.
    """
    if not file.exists():
        return replace(record, files={})
    before = Record.from_json(file.read_bytes(), str(file))
    other = [name for name, digest in record.stamps.items() if before.stamps.get(name, digest) != digest]
    if other:
        raise UserError(
            f"{file.parent}: came out of an archive of {before.told()}, in which {other[0]} has another key; move it away first"
        )
    return replace(
        before,
        figures=tuple(dict.fromkeys([*before.figures, *record.figures])),
        tables=tuple(dict.fromkeys([*before.tables, *record.tables])),
        measurements=before.measurements or record.measurements,
        stamps={**before.stamps, **record.stamps},
    )


def _study_file(record: Record, folder: Path) -> Path:
    """The study file to go on with: this checkout's own where it is that of the archive, with its lock."""
    kept = next(Path(path) for path in record.files if path.endswith((".yaml", ".yml")))
    kept = folder / kept.name
    own = CHECKOUT / record.study_file
    same = all(
        (mine.read_bytes() if mine.exists() else None) == (theirs.read_bytes() if theirs.exists() else None)
        for mine, theirs in ((own, kept), (lock_file(own), lock_file(kept)))
    )
    return Path(record.study_file) if same else kept
