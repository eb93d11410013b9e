"""Accept rewritten measuring code for stored measurements, when it gives the same bytes on a probe of each.

A measurement's key has the digest of the code that made it. Where that code alone has changed, the probe that was stored with
the measurement is measured again by the code as it is now. If all its tables have the same bytes, the measurement is recorded
under its new key as well, with what it was adopted from and on which evidence; else nothing is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.measurement import PROBE
from maxact.recipes import recipes
from maxact.store.objects import Manifest, Store
from maxact.store.run import WEIGHTS, action_key, drop, run_job, upstream
from maxact.store.workspace import hold_workspace
from maxact.study import Study


@dataclass(frozen=True)
class Verdict:
    """What became of one measurement: "current", "adopted", "differs", or why it cannot be adopted."""

    checkpoint: str
    verdict: str


def adopt(study: Study, store: Store, locks: Path) -> Iterator[Verdict]:
    """Try each stored measurement of a study.

    Args:
        locks: the folder with the locked requirements.

    Raises:
        UserError: the store holds nothing of the study, a run of it is at work, or a probe cannot be measured.
    """
    if not (store.root / study.study).is_dir():
        raise UserError(
            f"{store.root}: holds nothing of the study {study.study!r}; say --store with the folder of artifacts"
        )
    hold_workspace(store.root / study.study)
    wanted = {job.name: recipe for job, recipe in recipes(study, locks) if job.stage == "measure"}
    # What needs most devices first: this process keeps those that it has taken.
    for name, recipe in sorted(wanted.items(), key=lambda item: -study.gpus(item[0])):
        path = store.root / study.study / "measure" / f"{name}.json"
        if path.exists():
            yield Verdict(name, _adopt(path, recipe, study, store))
        else:
            yield Verdict(name, "not measured yet")


def _adopt(path: Path, recipe: Mapping[str, Any], study: Study, store: Store) -> str:
    manifest = Manifest.read(path)
    if not manifest.objects:
        return "not available"
    record = store.action(manifest.key)
    if record is None:
        return "its action record is missing"
    inputs = {source: upstream(key, store) for source, key in record["inputs"].items()}
    key = action_key("measure", manifest.name, recipe, inputs)
    if store.action(key) is not None:
        return "current"
    changed = [part for part in recipe if recipe[part] != manifest.recipe.get(part)]
    if changed != ["code"]:
        return f"not only the code has changed, but {', '.join(part for part in changed if part != 'code')}; it is measured again"
    if PROBE not in manifest.objects:
        return "has no probe, as it was measured before probes were kept; it is measured again"
    for source, above in inputs.items():
        now = store.root / study.study / above.stage / f"{above.name}.json"
        if not now.exists() or Manifest.read(now).objects != above.objects:
            return f"its {source} has changed; it is measured again"
    weights = inputs["checkpoint"]
    there = {item for item in weights.objects.values() if store.path(item).exists()}
    probe, _ = run_job("probe", manifest.name, recipe, inputs, store, study.gpus(manifest.name))
    if not study.keep_weights:  # what the probe had to have made again goes again
        again = {name: item for name, item in weights.objects.items() if item not in there}
        drop(dataclasses.replace(weights, objects=again), WEIGHTS, path, store)
    if probe.objects[PROBE].sha256 != manifest.objects[PROBE].sha256:
        return "differs on the probe; it is measured again"
    adopted = {"from": manifest.key, "code": manifest.recipe["code"], "probe": manifest.objects[PROBE].sha256}
    store.record_action(key, record | {"key": key, "recipe": recipe, "adopted": [*record.get("adopted", []), adopted]})
    return "adopted"
