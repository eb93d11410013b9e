"""Objects that are not kept: weights, deleted after the last job that reads them where a study says `keep_weights: false`.

`artifacts/<study>/readers.json` lists those jobs: the stage and name of what they read, then their own manifest, then their
inputs as the rule has them, relative to the study's folder. What is of a stage that is not listed there is kept. A job has
ended when its manifest has the key that its stamp and inputs lead to now: otherwise it is still to be done, or to be done again.
What any job is reading, listed or not (variants, shards, commands), stays until somebody drops it later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from maxact.store.keys import action_key, read_inputs
from maxact.store.objects import Manifest, Store, StoredObject
from maxact.store.sharing import WEIGHTS

READERS = "readers.json"

Readers = dict[str, dict[str, dict[str, dict[str, str]]]]
"""By stage and name of what is read, then by manifest of who reads it: its inputs, `key` among them."""


def drop_read(output: Path, inputs: Mapping[str, Manifest], store: Store) -> None:
    """Delete the weights that the job with that manifest has read, if it is listed as a reader and none is left."""
    study = output.parents[1]
    listed = readers(study)
    for source, manifest in inputs.items():
        reads = str(output.relative_to(study)) in listed.get(source, {}).get(manifest.name, {})
        # This study alone is looked at first: mostly others of its jobs are still to come.
        if reads and not is_needed(study / source / f"{manifest.name}.json"):
            drop(manifest, store)


def drop(manifest: Manifest, store: Store, held: Path | None = None) -> None:
    """Delete the weights of `manifest`, but for those that a study in the store keeps or has still to read, under any name.

    Those that a job is reading now stay too.

    Args:
        held: the folder of a study that does not count, since the caller holds it and has only put back what it lacked.
    """
    weights = [item for name, item in manifest.objects.items() if fnmatch(name, WEIGHTS)]
    digests = {item.sha256 for item in weights}
    needed: set[str] = set()
    for path, other in store.manifests():
        same = digests & {item.sha256 for item in other.objects.values()}
        if same and path.parents[1] != held and is_needed(path):
            needed |= same
    for item in weights:
        if item.sha256 not in needed:
            with suppress(BlockingIOError), store.lock(_reading(item), wait=False):
                store.drop(item)


@contextmanager
def being_read(objects: Mapping[str, StoredObject], store: Store) -> Iterator[None]:
    """Inside, no other job drops the weights among these, by name: not all that read them are listed."""
    with ExitStack() as held:
        for name, item in objects.items():
            if fnmatch(name, WEIGHTS):
                held.enter_context(store.lock(_reading(item), shared=True))
        yield


def _reading(item: StoredObject) -> str:
    """The key of the lock that readers of an object share."""
    return f"reading-{item.sha256}"


def is_needed(path: Path) -> bool:
    """Whether the weights of the manifest at that path are kept, or read by a job that has not ended."""
    study = path.parents[1]
    listed = readers(study)
    if path.parent.name not in listed:
        return True
    mine = listed[path.parent.name].get(path.stem, {})  # none reads what the study has no more
    return not all(_has_ended(study, output, inputs) for output, inputs in mine.items())


def readers(study: Path) -> Readers:
    """What the study with that folder of manifests does not keep, and who reads it."""
    file = study / READERS
    found: Readers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _has_ended(study: Path, output: str, inputs: Mapping[str, str]) -> bool:
    files = {source: str(study / path) for source, path in inputs.items()}
    stage, name = Path(output).parent.name, Path(output).stem
    try:
        recipe = json.loads(Path(files["key"]).read_text(encoding="utf-8"))
        return Manifest.read(study / output).key == action_key(stage, name, recipe, read_inputs(files.items()))
    except (FileNotFoundError, KeyError):  # a stage of another version of this library, which shares the store
        return False
