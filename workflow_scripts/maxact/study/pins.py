"""The lock file of a study: what the revisions that it names were when they were pinned.

`config.lock.json` stands beside `config.yaml`. It has an entry for each kind ("models", "datasets", "published") and each
`repository@revision`; `maxact pin` writes it, and here it is read into the `pin` of every source that names such a revision.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxact.errors import UserError

if TYPE_CHECKING:
    from maxact.study import PublishedStudy, Study

KINDS = ("models", "datasets", "published")


def lock_file(study: Path) -> Path:
    """Where the pins of a study file are."""
    return study.with_name(study.stem + ".lock.json")


def pin_name(repository: str, revision: str) -> str:
    """How the lock file names a revision."""
    return f"{repository}@{revision}"


def read_lock(file: Path) -> dict[str, dict[str, Any]]:
    """The lock file's pins by kind; none where there is no file.

    Raises:
        UserError: it is not what `maxact pin` writes.
    """
    try:
        lock = json.loads(file.read_text(encoding="utf-8"))
        found = {kind: dict(lock.get(kind, {})) for kind in KINDS}
        if not lock.keys() <= found.keys():
            raise KeyError
        return found
    except FileNotFoundError:
        return {kind: {} for kind in KINDS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: not a lock file; delete it and run `maxact pin`") from None


def apply_lock(config: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """A copy of a study's configuration in which every source that the lock files know has its pin.

    Raises:
        UserError: a lock file cannot be read.
    """
    pinned: dict[str, Any] = copy.deepcopy(dict(config))
    locks = [read_lock(lock_file(Path(file))) for file in files]
    for kind, source in _from_hub(pinned):
        name = pin_name(str(source.get("repository")), str(source.get("revision", "main")))
        for lock in locks:
            if name in lock[kind]:
                source["pin"] = lock[kind][name]
    published = pinned.get("published")
    if isinstance(published, dict):
        name = pin_name(str(published.get("repository")), str(published.get("commit")))
        published |= next(({"pin": lock["published"][name]} for lock in locks if name in lock["published"]), {})
    return pinned


def _from_hub(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings that may name something on a hub, whatever else is wrong with the configuration."""
    corpus = config.get("corpus")
    yield from (
        ("datasets", source) for source in _hub_among([corpus.get("source") if isinstance(corpus, dict) else 0])
    )
    tokenizers = config.get("tokenizers")
    yield from (("models", each) for each in _hub_among(tokenizers.values() if isinstance(tokenizers, dict) else []))
    checkpoints = config.get("checkpoints")
    sources = (
        [each.get("source") for each in checkpoints if isinstance(each, dict)] if isinstance(checkpoints, list) else []
    )
    yield from (("models", source) for source in _hub_among(sources))


def _hub_among(sources: Any) -> list[dict[str, Any]]:
    return [source for source in sources if isinstance(source, dict) and source.get("kind") == "hub"]


def refuse_unpinned(study: Study | PublishedStudy, files: Sequence[Path]) -> None:
    """Stop before anything runs if something that is downloaded has no pin.

    Raises:
        UserError: lists all of it, and says what to type.
    """
    found = [f"  {key}: {name}" for key, name in study.unpinned()]
    if not found:
        return
    told = f"{len(found)} source{'s are' if len(found) > 1 else ' is'} not pinned to a commit and digests"
    command = f"maxact pin {' '.join(map(os.path.relpath, files))}"
    raise UserError("\n".join([f"{told}; run `{command}` where it can be reached, then run again:", *found]))
