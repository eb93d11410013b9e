"""Objects that are not kept: weights, deleted after the last job that reads them where a study says `keep_weights: false`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import yaml

from maxact.store.objects import Manifest, Store


def drop(manifest: Manifest, pattern: str, output: Path, store: Store) -> None:
    """Delete the objects of `manifest` whose name matches, but for those that others still need.

    Others are all manifests of other studies in the store that keep their weights; and in this study and those that do not
    keep them, the manifests of the same stage for which the job of `output`'s stage is still to be done.

    Args:
        output: the manifest of the last job that reads them; its study is the one that does not keep them.
    """
    stage, study = output.parent, output.parents[1]
    needed: set[str] = set()
    for path, kept in store.manifests():
        theirs = path.parents[1]
        waiting = kept.stage == manifest.stage and path.name != output.name and not (stage / path.name).exists()
        if theirs != study:
            waiting = keeps_weights(theirs) or not (theirs / stage.name / path.name).exists()
        if waiting:
            needed |= {item.sha256 for item in kept.objects.values()}
    for name, item in manifest.objects.items():
        if fnmatch(name, pattern) and item.sha256 not in needed:
            store.drop(item)


def keeps_weights(study: Path) -> bool:
    """Whether the study with that folder of manifests says, by its `study.yaml`, that it keeps weights."""
    file = study / "study.yaml"
    return not file.exists() or bool(yaml.safe_load(file.read_text(encoding="utf-8")).get("keep_weights", True))


def are_current(others: Sequence[Path], measured: Path) -> bool:
    """Whether all these manifests are there and none is older than that of the measurement, after which it would be made again.

    Of several jobs that read the weights of a checkpoint, those that end before the last find that they are not, and leave
    the weights to it.
    """
    return all(path.exists() and path.stat().st_mtime >= measured.stat().st_mtime for path in others)
