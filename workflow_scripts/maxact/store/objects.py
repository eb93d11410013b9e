"""The object store and the records beside it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxact.store.disk import ask_server, missing, move, renewed, sync_folder, write_atomically, writing
from maxact.store.locks import hold

if TYPE_CHECKING:
    from maxact.store.sharing import Shared


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON has not.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_text(record: Mapping[str, Any]) -> str:
    """An action record, or a manifest, as its file has it."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


RESERVED = (
    "objects",
    "actions",
    "claims",
    "locks",
    "scratch",
    "downloads",
    "dropped",
    "unfinished",
    "sources",
    "ungiven",
)
"""Folders of a store; every other one is a study's."""


@dataclass(frozen=True)
class StoredObject:
    """An object as manifests name it: SHA-256 of its bytes, size in bytes, and the file extension it is kept with."""

    sha256: str
    size: int
    suffix: str

    @property
    def path(self) -> str:
        """Where it lies in every store, below the root."""
        return f"objects/{self.sha256[:2]}/{self.sha256}{self.suffix}"


@dataclass(frozen=True)
class Manifest:
    """What a stage has made under a name: its objects, and a summary small enough to read."""

    stage: str
    name: str
    key: str
    recipe: Mapping[str, Any]
    objects: Mapping[str, StoredObject]
    summary: Mapping[str, Any]

    def to_json(self) -> str:
        objects = {name: vars(item) for name, item in sorted(self.objects.items())}
        told = {"stage": self.stage, "name": self.name, "key": self.key, "objects": objects}
        return record_text(told | {"summary": self.summary, "recipe": self.recipe})

    @staticmethod
    def from_fields(told: Mapping[str, Any]) -> Manifest:
        objects = {name: StoredObject(**item) for name, item in told["objects"].items()}
        return Manifest(**{**told, "objects": objects})

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> Manifest:
        """What an action record says was made; a record has fields beyond those of a manifest."""
        return Manifest.from_fields({part.name: record[part.name] for part in fields(Manifest)})

    @staticmethod
    def read(path: Path) -> Manifest:
        return Manifest.from_fields(json.loads(path.read_text(encoding="utf-8")))


class Store:
    """Objects, action records and locks under one root.

    Args:
        root: the folder; it is made when first written to.
        shared: where other machines' artifacts are taken from and this one's are given to.
    """

    def __init__(self, root: Path, shared: Shared | None = None) -> None:
        self.root = Path(root)
        self.shared = shared

    def path(self, item: StoredObject) -> Path:
        return self.root / item.path

    def put(self, file: Path) -> StoredObject:
        """Move `file` into the store and return what names it. A whole copy that is there already is kept."""
        item = StoredObject(digest_file(file), file.stat().st_size, file.suffix)
        target = self.path(item)
        self._dropped(item).unlink(missing_ok=True)
        with writing(target):
            if self.is_whole(item) and renewed(target):
                return item
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            move(file, target)
            sync_folder(target.parent)
        return item

    def fetch(self, item: StoredObject) -> bool:
        """Take an object from where other machines keep theirs; whether it is here then.

        Raises:
            UserError: they cannot be reached, or refuse.
        """
        return self.shared is not None and self.shared.fetch(item, self)

    def have(self, item: StoredObject) -> bool:
        """Whether an object is here whole, after taking it from another machine if need be."""
        return self.is_whole(item) or self.fetch(item)

    def materialize(self, objects: Mapping[str, StoredObject], folder: Path) -> Path:
        """Lay links to `objects`, under their names, into `folder`; for libraries that open folders."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, item in objects.items():
            (folder / name).symlink_to(self.path(item).resolve())
        return folder

    def is_whole(self, item: StoredObject) -> bool:
        """Whether the object is there and its bytes are those that its name says; reads all of it."""
        path = self.path(item)
        try:
            return not missing(path) and _is_whole(path, item)
        except OSError as error:
            if error.errno != errno.ESTALE:
                return False
        ask_server(path.parent)  # it has another file under that name, since this machine has opened it
        try:
            return _is_whole(path, item)
        except OSError:
            return False

    def find(self, sha256: str, suffix: str) -> Path | None:
        """Where an object of that digest lies, if it is there whole."""
        path = self.root / "objects" / sha256[:2] / (sha256 + suffix)
        return path if path.exists() and digest_file(path) == sha256 else None

    def drop(self, item: StoredObject) -> None:
        """Delete an object on purpose: its manifest stands, and a job that reads it has it made again."""
        if self.path(item).exists():
            self._mark_absent(item)
            self.path(item).unlink()

    def _mark_absent(self, item: StoredObject) -> None:
        self._dropped(item).parent.mkdir(parents=True, exist_ok=True)
        self._dropped(item).touch()

    def note_absent(self, item: StoredObject) -> None:
        """Mark an object that never came here as absent on purpose."""
        if not self.path(item).exists():
            self._mark_absent(item)

    def was_dropped(self, item: StoredObject) -> bool:
        """Whether an object is absent on purpose."""
        return self._dropped(item).exists()

    def _dropped(self, item: StoredObject) -> Path:
        return self.root / "dropped" / item.sha256

    def manifests(self) -> Iterator[tuple[Path, Manifest]]:
        """Every manifest of every study, with its path, in order; but for those that another run deletes meanwhile."""
        for path in sorted(self.root.glob("*/*/*.json")):
            if path.relative_to(self.root).parts[0] not in RESERVED:
                try:
                    manifest = Manifest.read(path)
                except FileNotFoundError:
                    continue
                yield path, manifest

    def action(self, key: str) -> dict[str, Any] | None:
        """The record of what `key` has made, here or on another machine, or None.

        Objects may be absent: a result outlives its inputs, and those of another machine are taken when they are read.

        Raises:
            UserError: where other machines keep theirs cannot be reached, or refuses.
        """
        found = self.action_here(key)
        if found is None and self.shared is not None:
            found = self.shared.record(key, self)
            if found is not None:
                self.record_elsewhere(key, found)
        return found

    def action_here(self, key: str) -> dict[str, Any] | None:
        """The record of what `key` has made, if this store has it."""
        path = self.root / "actions" / f"{key}.json"
        try:
            if missing(path):
                return None
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return record
        except FileNotFoundError:
            return None

    def record_action(self, key: str, record: Mapping[str, Any]) -> None:
        write_atomically(self.root / "actions" / f"{key}.json", record_text(record))

    def record_elsewhere(self, key: str, record: Mapping[str, Any]) -> None:
        """Record what another machine has made; its objects are absent here on purpose, until one is read."""
        for item in Manifest.of_record(record).objects.values():
            if not self.path(item).exists():
                with writing(self._dropped(item)):
                    self._mark_absent(item)
        self.record_action(key, record)

    def journal(self, line: Mapping[str, Any]) -> None:
        """Append one line, under a lock: on a network file system appended lines of two machines may overwrite each other."""
        path = self.root / "journal.jsonl"
        with writing(path):
            self.root.mkdir(parents=True, exist_ok=True)
            with path.open("a+", encoding="utf-8") as stream:
                hold(stream, fcntl.LOCK_EX)
                stream.write(canonical(line) + "\n")

    @contextmanager
    def lock(self, key: str, wait: bool = True, shared: bool = False) -> Iterator[None]:
        """Hold the lock on `key`, alone or shared. The kernel frees it when the process ends, however it ends.

        Raises:
            BlockingIOError: another process holds it, and this one is not to wait.
            UserError: the store cannot be written, or its file system has no locks.
        """
        path = self.root / "locks" / key
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        with stream:
            hold(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder on the store's file system, removed afterwards."""
        parent = self.root / "scratch"
        with writing(parent):
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def now(self) -> float:
        """The time by the clock that dates the files of the store, which on a network file system is its server's."""
        dated = self.root / ".lock"  # there is no room for a new file on a full disk, which garbage is collected for
        with writing(dated):
            dated.touch()
            return dated.stat().st_mtime

    @contextmanager
    def unfinished(self, key: str) -> Iterator[Path]:
        """A folder for what one computation has done so far: removed when it ends, kept where it fails or is killed."""
        folder = self.root / "unfinished" / key
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except BaseException:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _is_whole(path: Path, item: StoredObject) -> bool:
    # The size of what is opened, not of the name: a client of NFS may remember a file that has been replaced.
    with path.open("rb") as stream:
        whole = os.fstat(stream.fileno()).st_size == item.size
        return whole and hashlib.file_digest(stream, "sha256").hexdigest() == item.sha256
