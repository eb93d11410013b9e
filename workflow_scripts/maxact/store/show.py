"""What made a file, from what, when; and is it what the study as configured now would make?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.keys import action_key
from maxact.store.objects import Manifest, Store, digest_file


def show(file: Path, root: Path) -> str:
    """Text for people about a manifest, an object of the store, or a file that was published from it.

    Raises:
        UserError: there is no such file, or nothing in the store has its bytes.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file; give a manifest, an object or a file of a report")
    store = Store(root)
    makers = list(_makers(file, store))
    if not makers:
        raise UserError(f"{file}: no manifest in {root} names these bytes; it was edited, or made elsewhere")
    return "\n\n".join("\n".join(_about(path, manifest, store)) for path, manifest in makers)


def _makers(file: Path, store: Store) -> Iterator[tuple[Path, Manifest]]:
    """Manifests that the file is, or that name its bytes."""
    digest = None
    for path, manifest in store.manifests():
        if path.resolve() == file.resolve():
            yield path, manifest
            return
    digest = digest_file(file)
    for path, manifest in store.manifests():
        if any(item.sha256 == digest for item in manifest.objects.values()):
            yield path, manifest


def _about(path: Path, manifest: Manifest, store: Store) -> Iterator[str]:
    yield f"{manifest.stage}/{manifest.name}  ({path})"
    yield f"  current    {current(path, manifest, store)}"
    made = _made(manifest.key, store)
    if made is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made["time"]))
        yield f"  computed   {when} on {made['host']}, {made['seconds']:.1f} s, {made['peak_memory_mib']:,} MiB"
    record = store.action(manifest.key) or {"inputs": {}}
    for adopted in record.get("adopted", []):
        yield f"  adopted    from action {adopted['from']}, code {adopted['code']}: the same bytes on its probe"
    for source, key in record["inputs"].items():
        above = store.action(key)
        yield f"  from       {above['stage']}/{above['name']}" if above else f"  from       {source}, action {key}"
    for name, value in manifest.recipe["parameters"].items():
        yield f"  parameter  {name} = {json.dumps(value, ensure_ascii=False)}"
    for name, version in manifest.recipe["packages"].items():
        yield f"  package    {name} {version}"
    yield f"  code       {manifest.recipe['code']}"
    for name, item in manifest.objects.items():
        state = "" if store.is_whole(item) else "  MISSING OR DAMAGED: the next run makes it again"
        if store.was_dropped(item):
            state = "  not kept here: taken or made again for a job that reads it"
        yield f"  object     {name}, {item.size:,} bytes, {store.path(item)}{state}"


def current(path: Path, manifest: Manifest, store: Store) -> str:
    """Whether stamp and inputs of the job, as they stand, lead to this manifest's key."""
    stamp = path.parents[1] / "keys" / manifest.stage / path.name
    if not stamp.exists():
        return "no: the study has no such job any more"
    recipe = json.loads(stamp.read_text(encoding="utf-8"))
    changed = [name for name in recipe if recipe[name] != manifest.recipe.get(name)]
    if changed:
        return f"no: {' and '.join(changed)} have changed since"
    record = store.action(manifest.key)
    if record is None:
        return "unknown: its action record is missing"
    inputs = {}
    for source, key in record["inputs"].items():
        above = store.action(key)
        if above is None:
            return f"unknown: the action record of {source} is missing"
        now = path.parents[1] / above["stage"] / f"{above['name']}.json"
        if not now.exists():
            return f"unknown: {now} is missing"
        inputs[source] = Manifest.read(now)
    if action_key(manifest.stage, manifest.name, recipe, inputs) != manifest.key:
        return "no: what it was made from has changed since"
    return "yes"


def _made(key: str, store: Store) -> dict[str, Any] | None:
    """The last line of the journal about this key."""
    journal = store.root / "journal.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    found = [line for line in map(json.loads, lines) if line["key"] == key]
    return found[-1] if found else None
