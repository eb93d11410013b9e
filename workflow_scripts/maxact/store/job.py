"""What a stage's `compute` is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.objects import Manifest, Store, StoredObject

Uses = Mapping[str, tuple[str, ...]]
"""For each input, glob patterns of the object names that a stage may read: those decide its key, no others do."""


@dataclass(frozen=True)
class Job:
    """One computation, after a cache miss.

    Attributes:
        stage, name: what is made.
        parameters: the part of the study's configuration that decides it (from the key stamp).
        inputs: manifests of the stages above. Several of one kind have keys such as `measure/SmolLM2`.
        uses: object names that may be read, by input key or by its part before the slash.
        scratch: an empty folder, removed afterwards.
        unfinished: a folder that outlives a process that is killed, for this very computation, removed when it is done.
    """

    stage: str
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Manifest]
    uses: Uses
    store: Store
    scratch: Path
    unfinished: Path | None = None

    def objects(self, source: str) -> dict[str, StoredObject]:
        """The objects of one input that the stage has declared to use, by name."""
        return used_objects(source, self.inputs[source], self.uses)

    def path(self, source: str, name: str) -> Path:
        """Where the object `name` of one input lies.

        Raises:
            UserError: the object is not in the store.
        """
        path = self.store.path(self.objects(source)[name])
        if not path.exists():
            raise UserError(f"{path}: the store lacks {name!r} of {source}; run again to make it")
        return path

    def folder(self, source: str) -> Path:
        """A folder in which the used objects of one input lie under their names (a checkpoint, a tokenizer)."""
        folder = self.scratch / "inputs" / source.replace("/", "-")
        if not folder.exists():
            for name in self.objects(source):
                self.path(source, name)
            self.store.materialize(self.objects(source), folder)
        return folder


@dataclass(frozen=True)
class Product:
    """What a stage has made.

    Attributes:
        files: object name -> file in scratch; its bytes must depend on the recipe and inputs alone.
        summary: a few JSON values for the manifest (no NaN): headline numbers, ancestry.
        costs: what it took (`forward_passes`, ...); goes to the journal, outside every digest.
    """

    files: Mapping[str, Path]
    summary: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)


def used_objects(source: str, manifest: Manifest, uses: Uses) -> dict[str, StoredObject]:
    """The objects of an input that a stage may read, by name.

    Args:
        source: the input, such as `measure` or `measure/NAME`.
        uses: of the stage (`Stage.uses`).
    """
    patterns = uses.get(source, uses.get(source.partition("/")[0], ()))
    return {
        name: item
        for name, item in sorted(manifest.objects.items())
        if any(fnmatch(name, pattern) for pattern in patterns)
    }
