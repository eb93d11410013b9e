"""Artifacts of other machines: taken where the local store lacks them, given where they were made here.

MAXACT_REMOTE names one place that is read and written, MAXACT_MIRROR any number, separated by spaces, that are only read and
asked without credentials (`remotes.py` says what may be named). They are in no recipe: they decide where bytes come from, not
which. An object has the digest that its name says or is not taken. What an action has made is its record, which is written
after its objects and only if there is none: of two that made one action at once, the first one's stands. Weights are not
given, as their source has them, and licences may forbid it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.objects import Manifest, Store, StoredObject, digest_file, record_text
from maxact.store.remotes import Remote, open_remote

WEIGHTS = "*.safetensors"
"""Objects of a checkpoint that are not given, and are dropped where weights are not kept."""
MARKER = "maxact-store.json"
MARK = '{"maxact": "a store of artifacts", "layout": 1}\n'


@dataclass(frozen=True)
class Shared:
    """Attributes: remote, read and written; mirrors, only read, in the order in which they are asked after it."""

    remote: Remote | None
    mirrors: tuple[Remote, ...] = ()

    @staticmethod
    def of_environment() -> Shared | None:
        """What MAXACT_REMOTE and MAXACT_MIRROR name; None where they name nothing.

        Raises:
            UserError: from `open_remote`.
        """
        url, mirrors = remote_named(), os.environ.get("MAXACT_MIRROR", "").split()
        if not url and not mirrors:
            return None
        remote = open_remote(url, read_only=False) if url else None
        return Shared(remote, tuple(open_remote(mirror, read_only=True) for mirror in mirrors))

    def places(self) -> tuple[Remote, ...]:
        """All that are read."""
        return (*([self.remote] if self.remote else []), *self.mirrors)

    def record(self, key: str, store: Store) -> dict[str, Any] | None:
        """The record of an action, from the first place that has one that is right.

        Raises:
            UserError: a place cannot be reached, or refuses.
        """
        for place in self.places():
            record = _record_at(place, key, store)
            if record is not None:
                return record
        return None

    def fetch(self, item: StoredObject, store: Store) -> bool:
        """Put an object into the store, from the first place where it has its digest; False where there is none.

        Raises:
            UserError: a place cannot be reached, or refuses.
        """
        for place in self.places():
            with store.scratch() as scratch:
                file = scratch / f"fetched{item.suffix}"
                if not place.fetch(item.path, file):
                    continue
                if file.stat().st_size == item.size and digest_file(file) == item.sha256:
                    store.put(file)
                    return True
                _warn(f"{place.url}: {item.path} has other bytes than its name says; it is not used")
        return False

    def give(self, key: str, record: Mapping[str, Any], store: Store) -> Mapping[str, Any] | None:
        """Put what an action has made to the remote, its record last.

        Returns:
            The record that stands there: another one, where another machine was first. None where an object is nowhere, and so
            no record is there.

        Raises:
            UserError: it cannot be reached, or refuses, or has an object of another size.
        """
        if self.remote is None:
            return record
        for name, item in Manifest.of_record(record).objects.items():
            if not fnmatch(name, WEIGHTS) and not _give_object(self.remote, item, store):
                return None
        with store.scratch() as scratch:
            file = scratch / "record.json"
            file.write_text(record_text(record), encoding="utf-8")
            # Also where conditions are ignored, a record that was there before stands.
            there = _record_at(self.remote, key, store)
            if there is None and not self.remote.create(f"actions/{key}.json", file):
                there = _record_at(self.remote, key, store)
        return there or record

    def check(self) -> list[str]:
        """Whether each place answers and is a store; a remote that is empty becomes one.

        Returns:
            What a user should know of them, a line each.

        Raises:
            UserError: one cannot be reached, refuses, or is no store.
        """
        told = []
        with tempfile.TemporaryDirectory() as folder:
            found, mark = Path(folder, "found"), Path(folder, "mark")
            mark.write_text(MARK, encoding="utf-8")
            for place in self.mirrors:
                if not place.fetch(MARKER, found):
                    raise UserError(
                        f"MAXACT_MIRROR={place.url}: has no {MARKER}, so it is no store of artifacts; mend it"
                    )
            # The first may find nothing there; the second must find what is there by then.
            if self.remote and [self.remote.create(MARKER, mark), self.remote.create(MARKER, mark)][1]:
                told.append(
                    f"{self.remote.url}: overwrites what it was asked to keep, so machines that want one result at once "
                    "each compute it, and the later one's record stays. Objects are named by their bytes and cannot be mixed up"
                )
        return told


def remote_named() -> str:
    """What MAXACT_REMOTE names; empty where it names nothing."""
    return os.environ.get("MAXACT_REMOTE", "").strip()


def check_shared() -> None:
    """Look, before a run, at the places that the environment names; what a user should know goes to standard error.

    Raises:
        UserError: one cannot be reached, refuses, or is no store.
    """
    shared = Shared.of_environment()
    for line in shared.check() if shared else []:
        _warn(line)


def check_record(record: Any, key: str) -> None:
    """Refuse a record that this library has not written, so that no name in it leads out of the store.

    Raises:
        ValueError: says what is wrong.
    """
    try:
        if record["key"] != key:
            raise ValueError("is of another action")
        named = [record["stage"], record["name"], *record["objects"]]
        stored = [StoredObject(**item) for item in record["objects"].values()]
        above = list(record["inputs"].values())
        if not isinstance(record["summary"], dict) or not isinstance(record["recipe"], dict):
            raise ValueError("has no recipe or summary")
        right = all(re.fullmatch(r"\w[\w.+@-]*", name) for name in named)
        right &= all(
            re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (key, *above, *(item.sha256 for item in stored))
        )
        right &= all(re.fullmatch(r"(\.\w+)?", item.suffix) and isinstance(item.size, int) for item in stored)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("is no record of an action") from None
    if not right:
        raise ValueError("has names that no store has")


def _record_at(place: Remote, key: str, store: Store) -> dict[str, Any] | None:
    with store.scratch() as scratch:
        file = scratch / "record.json"
        if not place.fetch(f"actions/{key}.json", file):
            return None
        try:
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            check_record(record, key)
            return record
        except ValueError as error:
            reason = "is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
            _warn(f"{place.url}: actions/{key}.json {reason}; it is not used")
            return None


def _give_object(remote: Remote, item: StoredObject, store: Store) -> bool:
    """Whether the remote has it now."""
    there = remote.size(item.path)
    if there == item.size:
        return True
    if there is not None:
        raise UserError(
            f"{remote.url}: {item.path} has {there:,} bytes, not {item.size:,}; delete it, then `maxact push`"
        )
    if not store.have(item):  # from a mirror, where the store lacks it
        return False
    remote.create(item.path, store.path(item))
    return True


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
