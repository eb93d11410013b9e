"""Is every object what its name says? Bits flip on disks, and copies break off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maxact.store.objects import Store, digest_file


@dataclass(frozen=True)
class Fault:
    """An object that is not what a manifest or its own name says; `makers` are the manifests that name it."""

    path: Path
    what: str
    makers: tuple[str, ...]


def faults(store: Store) -> Iterator[Fault]:
    """Read every object, and yield those that are damaged, and those that manifests name and the store has not,
    but for weights that a study does not keep."""
    named: dict[Path, list[str]] = {}
    dropped = set()
    for _, manifest in store.manifests():
        for name, item in manifest.objects.items():
            named.setdefault(store.path(item), []).append(f"{manifest.stage}/{manifest.name}: {name}")
            if store.was_dropped(item):
                dropped.add(store.path(item))
    there = set()
    for path in sorted(store.root.glob("objects/*/*")):
        there.add(path)
        if digest_file(path) != path.name.partition(".")[0]:
            yield Fault(path, "damaged", tuple(named.get(path, ())))
    for path in sorted(set(named) - there - dropped):
        yield Fault(path, "missing", tuple(named[path]))
