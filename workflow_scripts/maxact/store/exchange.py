"""Give all that was made here to other machines, or take all that is named here from them: `maxact push`, `maxact pull`.

Runs do both by themselves as they go, one artifact at a time, and give what was refused once more when they end; the commands are
for what was made while no remote was set or it was out of reach, and for work without a network afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from maxact.errors import UserError
from maxact.store.disk import telling
from maxact.store.objects import Store, StoredObject, canonical
from maxact.store.sharing import WEIGHTS, Shared
from maxact.store.ungiven import are, counted, forget, them, ungiven

NOT_GIVEN = 4
"""Exit code of a run that has finished all of its results, where the remote has not got all of them."""


def push(store: Store) -> str:
    """Give every action that a manifest of the store comes from to the remote.

    Returns:
        A line that says how many.

    Raises:
        UserError: there is no remote, it cannot be reached, or it refuses.
    """
    if store.shared is None or store.shared.remote is None:
        raise UserError("MAXACT_REMOTE is not set; name the place to give to, such as s3://BUCKET/PREFIX or a folder")
    warnings = store.shared.check()
    keys = reached((manifest.key for _, manifest in store.manifests()), store) | set(ungiven(store.root))
    given = _give(keys, store.shared, store)
    return "\n".join(
        [
            *(f"warning: {line}" for line in warnings),
            f"{store.shared.remote.url}: has {counted(given.number)} of this store",
            *given.told,
        ]
    )


def give_rest(root: Path) -> bool:
    """Give what is noted as not given once more, as a run ends; what comes of it goes to the console.

    It stops at the first refusal: each that is left might wait as long for a place that is out of reach.

    Returns:
        Whether the remote has all now.
    """
    keys = ungiven(root)
    if not keys:
        return True
    shared = Shared.of_environment()
    assert shared is not None  # as something is noted for a place that the environment names
    assert shared.remote is not None
    url = shared.remote.url
    try:
        with telling(root):
            given = _give(keys, shared, Store(root, shared))
    except UserError as error:
        left, told = len(ungiven(root)), str(error).removeprefix(f"{url}: ")
        print(
            f"error: {counted(left)} {are(left)} finished and in {root}, but not at {url}: {told}; when that is mended, "
            f"`maxact push` gives {them(left)}",
            file=sys.stderr,
        )
        return False
    if given.number:
        print(f"{counted(given.number)} that could not be given at first {are(given.number)} at {url} now")
    for line in given.told:
        print(f"{url}: {line}", file=sys.stderr)
    return not given.lost


@dataclass(frozen=True)
class _Given:
    """How many results the remote has now, a line about those that are otherwise, and which have an object that is nowhere."""

    number: int
    told: list[str]
    lost: list[str]


def _give(keys: Iterable[str], shared: Shared, store: Store) -> _Given:
    """Give what is recorded of these keys, but for what a job is at: it gives that itself."""
    number, other, lost = 0, [], []
    for key in sorted(keys):
        with suppress(BlockingIOError), store.lock(key, wait=False):
            record = store.action_here(key)
            if record is None:
                continue
            stands, named = shared.give(key, record, store), f"{record['stage']}/{record['name']}"
            if stands is None:
                lost.append(named)
                continue
            forget(key, store)
            number += 1
            if canonical(stands["objects"]) != canonical(record["objects"]):
                other.append(named)
    told = {
        "it has other bytes, which were there first": other,
        "an object is nowhere, so it is given them once they are made again": lost,
    }
    return _Given(
        number, [f"of {len(some)} {what}: {', '.join(some[:5])}" for what, some in told.items() if some], lost
    )


def pull(store: Store) -> str:
    """Take every object that a manifest names and the store lacks, but for weights.

    Returns:
        A line that says how many, and one about those that are nowhere.

    Raises:
        UserError: there is nowhere to take them from, or a place cannot be reached.
    """
    if store.shared is None:
        raise UserError("neither MAXACT_REMOTE nor MAXACT_MIRROR is set; name a place to take from")
    store.shared.check()
    lacking: dict[StoredObject, str] = {}
    for _, manifest in store.manifests():
        for name, item in manifest.objects.items():
            if not fnmatch(name, WEIGHTS) and not store.path(item).exists():
                lacking[item] = f"{manifest.stage}/{manifest.name}: {name}"
    nowhere = [name for item, name in lacking.items() if not store.fetch(item)]
    told = f"{len(lacking) - len(nowhere)} objects taken"
    return (
        told
        if not nowhere
        else f"{told}\n{len(nowhere)} are nowhere, and are made again when they are read: {nowhere[0]}"
    )


def reached(keys: Iterable[str], store: Store) -> set[str]:
    """Keys of actions, and of all that these were made from, as far as they are recorded here."""
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        record = None if key in found else store.action_here(key)
        if record is not None:
            found.add(key)
            waiting += record["inputs"].values()
    return found
