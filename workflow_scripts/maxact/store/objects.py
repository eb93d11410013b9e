"""The object store and the records beside it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.errors import UserError


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON has not.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_if_changed(path: Path, text: str) -> None:
    """Write `text` unless `path` has it already: the time of a file then tells when its content changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)


RESERVED = ("objects", "actions", "locks", "scratch", "downloads", "dropped", "unfinished")
"""Folders of a store; every other one is a study's."""


@dataclass(frozen=True)
class StoredObject:
    """An object as manifests name it: SHA-256 of its bytes, size in bytes, and the file extension it is kept with."""

    sha256: str
    size: int
    suffix: str


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
        fields = {"stage": self.stage, "name": self.name, "key": self.key, "objects": objects}
        fields |= {"summary": self.summary, "recipe": self.recipe}
        return json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> Manifest:
        objects = {name: StoredObject(**item) for name, item in fields["objects"].items()}
        return Manifest(**{**fields, "objects": objects})

    @staticmethod
    def read(path: Path) -> Manifest:
        return Manifest.from_fields(json.loads(path.read_text(encoding="utf-8")))


class Store:
    """Objects, action records and locks under one root.

    Args:
        root: the folder; it is made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, item: StoredObject) -> Path:
        return self.root / "objects" / item.sha256[:2] / (item.sha256 + item.suffix)

    def put(self, file: Path) -> StoredObject:
        """Move `file` into the store and return what names it. A whole copy that is there already is kept."""
        item = StoredObject(digest_file(file), file.stat().st_size, file.suffix)
        target = self.path(item)
        self._dropped(item).unlink(missing_ok=True)
        if not self.is_whole(item):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(file, target)
        return item

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
            return path.stat().st_size == item.size and digest_file(path) == item.sha256
        except OSError:
            return False

    def find(self, sha256: str, suffix: str) -> Path | None:
        """Where an object of that digest lies, if it is there whole."""
        path = self.root / "objects" / sha256[:2] / (sha256 + suffix)
        return path if path.exists() and digest_file(path) == sha256 else None

    def drop(self, item: StoredObject) -> None:
        """Delete an object on purpose: its manifest stands, and a job that reads it has it made again."""
        if self.path(item).exists():
            self._dropped(item).parent.mkdir(parents=True, exist_ok=True)
            self._dropped(item).touch()
            self.path(item).unlink()

    def was_dropped(self, item: StoredObject) -> bool:
        """Whether an object is absent on purpose."""
        return self._dropped(item).exists()

    def _dropped(self, item: StoredObject) -> Path:
        return self.root / "dropped" / item.sha256

    def manifests(self) -> Iterator[tuple[Path, Manifest]]:
        """Every manifest of every study, with its path, in order."""
        for path in sorted(self.root.glob("*/*/*.json")):
            if path.relative_to(self.root).parts[0] not in RESERVED:
                yield path, Manifest.read(path)

    def action(self, key: str) -> dict[str, Any] | None:
        """The record of what `key` has made, or None. Objects may be absent: a result outlives its inputs."""
        try:
            record: dict[str, Any] = json.loads((self.root / "actions" / f"{key}.json").read_text(encoding="utf-8"))
            return record
        except FileNotFoundError:
            return None

    def record_action(self, key: str, record: Mapping[str, Any]) -> None:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(self.root / "actions" / f"{key}.json", text)

    def journal(self, line: Mapping[str, Any]) -> None:
        """Append one line; a single short write in append mode, so that concurrent jobs do not mix."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "journal.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(canonical(line) + "\n")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the lock on `key`. The kernel frees it when the process ends, however it ends."""
        path = self.root / "locks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder on the store's file system, removed afterwards."""
        parent = self.root / "scratch"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError as error:
            raise UserError(f"{parent}: cannot be written ({error.strerror}); free space or mend permissions") from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def unfinished(self, key: str) -> Iterator[Path]:
        """A folder for what one computation has done so far: removed when it ends, kept where it fails or is killed."""
        folder = self.root / "unfinished" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); free space or mend permissions") from None
        try:
            yield folder
        except BaseException:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)
