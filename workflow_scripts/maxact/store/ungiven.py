"""Results that the remote has not got yet: noted before each is given, until it is there.

`ungiven/<key>.json` is written before the record of what a job has made, and deleted once the remote has that. So it stays where
the remote refuses, and where the job is killed in between: a later run finds the record here and has nothing to give by itself.
The end of every run gives what is noted once more (`exchange.give_rest`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from maxact.store.disk import write_atomically
from maxact.store.objects import Store, canonical
from maxact.store.sharing import remote_named


def note(key: str, store: Store) -> None:
    """Write down that the remote, if there is one, has yet to be given what `key` makes."""
    if store.shared is not None and store.shared.remote is not None:
        write_atomically(_file(key, store.root), canonical({"remote": store.shared.remote.url}) + "\n")


def forget(key: str, store: Store) -> None:
    """The remote of this store has it. A note for another one stays."""
    file = _file(key, store.root)
    if store.shared is not None and store.shared.remote is not None and _noted(file) == _same(store.shared.remote.url):
        file.unlink(missing_ok=True)


def ungiven(root: Path) -> list[str]:
    """Keys of what is recorded in the store at `root` and noted for the remote that the environment names now."""
    url = _same(remote_named())
    files = sorted(root.glob("ungiven/*.json"))
    return [file.stem for file in files if _noted(file) == url and (root / "actions" / file.name).exists()]


def tell_ungiven(root: Path) -> None:
    """Say, when a workflow is read, what earlier runs have not given: a run with nothing to do has no end that gives it."""
    number = len(ungiven(root))
    if number:
        print(
            f"warning: {counted(number)} of {root} {are(number)} not at {remote_named()} yet; `maxact push` gives "
            f"{them(number)}, and so does the end of a run that has something to do",
            file=sys.stderr,
        )


def _noted(file: Path) -> str | None:
    """The remote that a note is of; None where another run has given it meanwhile."""
    try:
        return _same(json.loads(file.read_text(encoding="utf-8"))["remote"])
    except FileNotFoundError:
        return None


def _same(url: str) -> str:
    return url.rstrip("/")


def _file(key: str, root: Path) -> Path:
    return root / "ungiven" / f"{key}.json"


def counted(number: int) -> str:
    return "1 result" if number == 1 else f"{number} results"


def are(number: int) -> str:
    return "is" if number == 1 else "are"


def them(number: int) -> str:
    return "it" if number == 1 else "them"
