"""Open the checkpoint of a stored measurement once more, for a stage that no rule names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.dropping import drop
from maxact.store.objects import Manifest, Store
from maxact.store.run import run_job, upstream
from maxact.store.workspace import hold_workspace
from maxact.study import PublishedStudy, Study


@dataclass(frozen=True)
class Stored:
    """A measurement of a study in the store.

    Attributes:
        path: its manifest's file.
        record: its action record.
        inputs: what it was made from.
    """

    path: Path
    manifest: Manifest
    record: dict[str, Any]
    inputs: Mapping[str, Manifest]

    def run(self, stage: str, recipe: Mapping[str, Any], study: Study, store: Store, again: bool = False) -> Manifest:
        """What another stage makes of the same inputs; weights that are not kept go again afterwards."""
        weights = self.inputs["checkpoint"]
        there = {item for item in weights.objects.values() if store.path(item).exists()}
        name = self.manifest.name
        try:
            made, _ = run_job(stage, name, recipe, self.inputs, store, self.record.get("gpus", 0), again)
        finally:
            if not study.keep_weights:
                fresh = {name: item for name, item in weights.objects.items() if item not in there}
                drop(dataclasses.replace(weights, objects=fresh), store, self.path.parents[1])
        return made


def hold_study(study: Study | PublishedStudy, store: Store, to_read: bool = False) -> None:
    """Hold the folder of a study until this process ends.

    Args:
        to_read: whether others may read it meanwhile.

    Raises:
        UserError: the store holds nothing of the study, or a run or command is at work on it.
    """
    folder = store.root / study.study
    if not folder.is_dir():
        raise UserError(
            f"{store.root}: holds nothing of the study {study.study!r}; say --store with the folder of artifacts"
        )
    hold_workspace(folder, to_read)


def stored(study: Study, checkpoint: str, store: Store) -> Stored | str:
    """The measurement of a checkpoint, or why there is none.

    Raises:
        UserError: what made one of its inputs is not in the store.
    """
    path = store.root / study.study / "measure" / f"{checkpoint}.json"
    if not path.exists():
        return "not measured yet"
    manifest = Manifest.read(path)
    if not manifest.objects:
        return "not available"
    record = store.action(manifest.key)
    if record is None:
        return "its action record is missing"
    return Stored(path, manifest, record, {source: upstream(key, store) for source, key in record["inputs"].items()})
