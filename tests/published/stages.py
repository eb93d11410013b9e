"""The stages of a study of published results on a tree of files, by way of the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from maxact.published.listing import file_digests
from maxact.published.stage import compute as import_results
from maxact.published.where import note_source
from maxact.results.stage import compute
from maxact.stages import STAGES
from maxact.store.job import Job, Product
from maxact.store.objects import Manifest, Store
from maxact.study import PublishedStudy, validate_study


def published_of(tree: Path, folder: Path) -> tuple[Manifest, Store]:
    """The manifest of the stage `published` on a tree, and the store that has its objects."""
    store, scratch = Store(folder / "store"), folder / "published"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    asked = {"files": file_digests(tree)}
    note_source(store.root, asked["files"], {"folder": str(tree)})
    read = import_results(Job("published", "published", asked, {}, {}, store, scratch))
    objects = {name: store.put(file) for name, file in read.files.items()}
    return Manifest("published", "published", "0" * 64, {}, objects, json.loads(json.dumps(read.summary))), store


def results_of(tree: Path, config: dict[str, Any], folder: Path) -> Product:
    """The product of the stage `results` on a tree, by way of the store."""
    found = validate_study(config, [Path("study.yaml")])
    assert isinstance(found, PublishedStudy)
    manifest, store = published_of(tree, folder)
    scratch = folder / "scratch"
    scratch.mkdir()
    comparisons = [
        {"question": question, "groups": [[name, members] for name, members in groups.items()]}
        for question, groups in found.comparisons.groups().items()
    ]
    parameters = {"checkpoints": found.members(), "comparisons": comparisons}
    inputs = {"published": manifest}
    return compute(Job("results", "results", parameters, inputs, STAGES["results"].uses, store, scratch))
