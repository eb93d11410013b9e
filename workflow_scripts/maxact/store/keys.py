"""The key of a job: the digest of its recipe (the key stamp) and of the content that it may read, not of paths or times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maxact.stages import is_part, uses_of
from maxact.store.job import used_objects
from maxact.store.objects import Manifest, canonical, digest_text

STAMPS = ("key", "whole")
"""Inputs of rules that are key stamps: of the job, and of what it does a part of."""


def action_key(stage: str, name: str, recipe: Mapping[str, Any], inputs: Mapping[str, Manifest]) -> str:
    """SHA-256 that decides a result: recipe, and digests of the input objects (and summaries) that it may depend on."""
    uses = uses_of(stage, name)
    content = {
        source: {
            "objects": {name: item.sha256 for name, item in used_objects(source, manifest, uses).items()},
            "summary": manifest.summary if "summary" in uses.get(source.partition("/")[0], ()) else None,
        }
        for source, manifest in inputs.items()
        if not is_part(stage, source)
    }
    return digest_text(canonical({"stage": stage, "recipe": recipe, "inputs": content}))


def read_inputs(files: Iterable[tuple[str, Any]]) -> dict[str, Manifest]:
    """The manifests among the inputs of a rule, each a path or a list of paths; those of a list are `<source>/<name>`."""
    read = {}
    for source, paths in files:
        if source in STAMPS:
            continue
        if isinstance(paths, str):
            read[source] = Manifest.read(Path(paths))
        else:
            manifests = [Manifest.read(Path(path)) for path in paths]
            read |= {f"{source}/{manifest.name}": manifest for manifest in manifests}
    return read
