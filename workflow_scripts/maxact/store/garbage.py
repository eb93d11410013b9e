"""What may be deleted: what no manifest names, and no recipe of a study as it is configured now would find."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.dropping import is_needed
from maxact.store.objects import Manifest, Store, StoredObject
from maxact.store.sharing import WEIGHTS

DAY = 86_400.0

_LEFT = {"scratch": "scratch file", "downloads": "download", "unfinished": "unfinished part", "claims": "claim"}
"""Folders of what a job writes while it runs, new as long as it does; claims are renewed."""


@dataclass(frozen=True)
class Garbage:
    """A file that may be deleted, its size in bytes, and what it was.

    That is "object", "weight", "action", "scratch file", "download", "unfinished part", or, for what a job that failed or was
    killed has left, "claim" or "note" of a result that was to be given to a remote.
    """

    path: Path
    size: int
    kind: str


def garbage(store: Store, grace_days: float, now: float | None = None) -> list[Garbage]:
    """Files of the store that nothing needs and that are older than the grace period, in order of path.

    The weights of a study that does not keep them are not needed once all jobs that read them have ended, as when
    `keep_weights` was changed afterwards. Else needed is what a manifest of any study in the store names; what an action
    record has made whose recipe is the key stamp of a job (so that a change that is taken back computes nothing); and the
    records, not the objects, of all that these were made from, since a lost object is made again by way of them.

    Raises:
        UserError: an action record cannot be read.
    """
    records = {path: _read(path) for path in sorted(store.root.glob("actions/*.json"))}
    kept = _kept_keys(store, {record["key"]: record for record in records.values()})
    named = set()
    unkept: dict[Path, str] = {}
    for path, manifest in store.manifests():
        weights = {store.path(item) for name, item in manifest.objects.items() if fnmatch(name, WEIGHTS)}
        if weights and is_needed(path):
            weights = set()
        unkept |= dict.fromkeys(weights, "weight")
        named |= {store.path(item) for item in manifest.objects.values()} - weights
    for record in records.values():
        if record["key"] in kept.with_objects:
            made = {store.path(item) for item in Manifest.of_record(record).objects.values()}
            named |= made - set(unkept)
    found = [
        Garbage(path, path.stat().st_size, unkept.get(path, "object"))
        for path in store.root.glob("objects/*/*")
        if path not in named
    ]
    found += [
        Garbage(path, path.stat().st_size, "action")
        for path, record in records.items()
        if record["key"] not in kept.records
    ]
    for folder, kind in _LEFT.items():
        left = [path for path in store.root.glob(f"{folder}/**/*") if path.is_file()]
        found += [Garbage(path, path.stat().st_size, kind) for path in left]
    found += [
        Garbage(path, path.stat().st_size, "note")
        for path in store.root.glob("ungiven/*.json")
        if not (store.root / "actions" / path.name).exists()
    ]
    limit = (store.now() if now is None else now) - grace_days * DAY
    return sorted((item for item in found if item.path.stat().st_mtime <= limit), key=lambda item: item.path)


@dataclass(frozen=True)
class _Kept:
    with_objects: set[str]
    records: set[str]


def _kept_keys(store: Store, records: dict[str, dict[str, Any]]) -> _Kept:
    stamps: dict[tuple[str, str], list[dict[str, Any]]] = {}  # studies may have jobs of one name
    for path in store.root.glob("*/keys/*/*.json"):
        stamps.setdefault((path.parent.name, path.stem), []).append(json.loads(path.read_text(encoding="utf-8")))
    with_objects = {manifest.key for _, manifest in store.manifests()}
    with_objects |= {
        key for key, record in records.items() if record["recipe"] in stamps.get((record["stage"], record["name"]), [])
    }
    reached: set[str] = set()
    waiting = list(with_objects)
    while waiting:
        key = waiting.pop()
        if key not in reached and key in records:
            reached.add(key)
            waiting += records[key]["inputs"].values()
    return _Kept(with_objects, reached)


def delete(store: Store, files: list[Garbage]) -> None:
    """Delete them, and folders that are empty then."""
    for item in files:
        if item.kind == "weight":
            store.drop(StoredObject(item.path.name.partition(".")[0], item.size, item.path.suffix))
        item.path.unlink(missing_ok=True)
    folders = [
        folder
        for part in ("objects", "scratch", "downloads", "unfinished")
        for folder in store.root.glob(f"{part}/**/")
        if folder.is_dir()
    ]
    for folder in sorted(folders, reverse=True):
        if folder.parent != store.root and not any(folder.iterdir()):
            folder.rmdir()


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    except ValueError:
        raise UserError(f"{path}: not JSON; delete it") from None
