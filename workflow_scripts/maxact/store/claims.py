"""One machine at a time computes a result, where they share a place and no lock of a kernel that all of them see.

A claim on a key is a chain of small files, `claims/<key>.1.json`, `.2.json` and so on, each created only where none is
(`If-None-Match: *` on object storage, a link in a folder), so that each has one writer. The last is the claim that counts. Its
writer overwrites it every RENEW_SECONDS with a count that goes up. Who waits watches the count, and where it stands still for
EXPIRES_SECONDS, by a monotonic clock of the waiter's own, takes over by creating the next file. No time of another machine is
compared with anything.

A holder that fails marks its claim as ended, and the next may begin at once. Nothing of a chain is deleted before the result is
recorded at the place, so that none who is late can create a file that others have gone beyond; after that it is deleted, and
who claims the key then finds the record. A place that overwrites what it was asked to keep has no claims.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.locks import of_one_machine
from maxact.store.objects import Store
from maxact.store.remotes import Folder, Remote

RENEW_SECONDS = 20.0
EXPIRES_SECONDS = 180.0
"""Longer than a client of NFS remembers what a file was, and than a computation may keep the renewing thread from running."""
POLL_SECONDS = 2.0


@dataclass
class Turn:
    """What a claim leads to.

    Attributes:
        record: that of the key, where another machine has made it meanwhile; None where it is to be computed here.
        recorded: to be set once the record is where the claim is.
    """

    record: Mapping[str, Any] | None = None
    recorded: bool = False


@contextmanager
def claimed(key: str, what: str, store: Store) -> Iterator[Turn]:
    """Wait for other machines that compute `key`; hold the claim on it meanwhile, where it is still to be computed.

    Claims lie at the remote, and in the store itself where its file system has locks for one machine only. The kernel's lock on
    the key must be held.

    Args:
        what: stage and name, for the console.

    Raises:
        UserError: a place cannot be reached, or refuses.
    """
    turn = Turn()
    with ExitStack() as held:
        for place in _places(store):
            held.enter_context(_Claim(place, key, what, store).held(turn))
            if turn.record is not None:
                break
        yield turn


def _places(store: Store) -> Iterator[Remote]:
    if of_one_machine(store.root):
        yield Folder(str(store.root), store.root)
    if store.shared is not None and store.shared.remote is not None:
        yield store.shared.remote


class _Claim:
    """This process's claim on one key at one place."""

    def __init__(self, place: Remote, key: str, what: str, store: Store) -> None:
        self._place, self._key, self._what, self._store = place, key, what, store
        self._number = 0  # of the file in the chain that this process has made; 0: none
        self._fields: dict[str, Any] = {
            "what": what,
            "host": platform.node(),
            "process": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            "token": uuid.uuid4().hex,
            "lock": _identity(store.root / "locks" / key),
            "count": 0,
            "ended": False,
        }

    @contextmanager
    def held(self, turn: Turn) -> Iterator[None]:
        """Take the claim, or learn what another has made; renew it until the context ends."""
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(stop,), daemon=True)
        try:
            turn.record = self._take()
            if self._number and turn.record is None:
                renewing.start()
            yield
        finally:
            stop.set()
            if renewing.is_alive():
                renewing.join()
            if self._number:
                self._end(turn.recorded or turn.record is not None)

    def _take(self) -> Mapping[str, Any] | None:
        """Wait for whoever is at work. The record that is found then, if any, whether or not a claim was made to find it."""
        number = 1
        while not self._created(number):
            record, number = self._wait_behind(number)
            if record is not None:
                return record
        return self._store.action(self._key)  # made and recorded between the first look and the claim

    def _created(self, number: int) -> bool:
        """Whether this process may go on. Where no claim can be written the result is made without."""
        try:
            return self._create(number)
        except UserError as error:
            if self._number:
                return True
            self._tell(f"no claim on it can be made ({error}); another machine may make it too")
            return True

    def _create(self, number: int) -> bool:
        """Make the file of that number; where the place does not keep what is there, delete it, and go on without a claim."""
        with self._store.scratch() as scratch:
            draft = scratch / "claim.json"
            draft.write_text(json.dumps(self._fields), encoding="utf-8")
            if not self._place.create(self._path(number), draft):
                # A request that was repeated as its answer was lost finds what it has made itself.
                there = self._read(number)
                if there is None or there.get("token") != self._fields["token"]:
                    return False
                self._number = number
                return True
            self._number = number  # to be ended, whatever comes next
            if self._place.create(self._path(number), draft):
                self._delete(number)
                self._number = 0
        return True

    def _wait_behind(self, number: int) -> tuple[Mapping[str, Any] | None, int]:
        """Wait while the claim of that number counts: the record, if it has led to one, and the number to try next."""
        overtaken = self._place.size(self._path(number + 1)) is not None
        counted, changed, told = None, time.monotonic(), False
        while True:
            claim = self._read(number)
            if claim is None:  # deleted, as the result is recorded
                return self._store.action(self._key), 1
            # The holder held the very lock that is held here now: it is gone.
            if overtaken or claim.get("ended") or (claim.get("lock") and claim["lock"] == self._fields["lock"]):
                return None, number + 1
            if counted != claim.get("count"):
                counted, changed = claim.get("count"), time.monotonic()
            elif time.monotonic() - changed > EXPIRES_SECONDS:
                self._tell(f"nothing was heard of {_holder(claim)} for {EXPIRES_SECONDS:g} s; this machine takes over")
                return None, number + 1
            if not told:
                self._tell(
                    f"{_holder(claim)} is at it, by its clock since {claim.get('since', 'unknown')}; waiting for it"
                )
                told = True
            time.sleep(POLL_SECONDS)
            record = self._store.action(self._key)
            if record is not None:
                return record, number

    def _renew(self, stop: threading.Event) -> None:
        told = False
        while not stop.wait(RENEW_SECONDS):
            self._fields["count"] += 1
            try:
                self._place.put(self._path(self._number), self._bytes())
            except UserError as error:
                if not told:
                    self._tell(f"the claim on it cannot be renewed ({error}); another machine may make it too")
                told = True

    def _end(self, recorded: bool) -> None:
        """Let others know that nobody is at work here. Where they cannot be told, the claim expires."""
        with suppress(UserError):
            if recorded:
                for number in range(self._number, 0, -1):
                    self._delete(number)
            else:
                self._fields["ended"] = True
                self._place.put(self._path(self._number), self._bytes())

    def _delete(self, number: int) -> None:
        self._place.delete(self._path(number))

    def _read(self, number: int) -> dict[str, Any] | None:
        with self._store.scratch() as scratch:
            file = scratch / "claim.json"
            if not self._place.fetch(self._path(number), file):
                return None
            text = file.read_text(encoding="utf-8", errors="replace")
        with suppress(ValueError):
            fields = json.loads(text)
            if isinstance(fields, dict):
                return fields
        return {"count": text}  # not written by this library; it expires

    def _path(self, number: int) -> str:
        return f"claims/{self._key}.{number}.json"

    def _bytes(self) -> bytes:
        return json.dumps(self._fields).encode()

    def _tell(self, text: str) -> None:
        plain = "".join(letter if letter.isprintable() else " " for letter in text)  # parts of it others have written
        print(f"{self._what}: {plain}", file=sys.stderr, flush=True)


def _holder(claim: Mapping[str, Any]) -> str:
    return f"{claim.get('host', 'another machine')} (process {claim.get('process', 'unknown')})"


def _identity(lock: Path) -> str | None:
    """What is the same for two processes only if they lock the same file under the same kernel; None where it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        found = lock.stat()
    except OSError:
        return None
    return f"{boot}:{found.st_dev}:{found.st_ino}"
