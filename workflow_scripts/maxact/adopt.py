"""Accept rewritten measuring code for stored measurements, when it gives the same bytes on a probe of each.

A measurement's key has the digest of the code that made it. Where that code alone has changed, the probe that was stored with
the measurement is measured again by the code as it is now. If all its tables have the same bytes, the measurement is recorded
under its new key as well, with what it was adopted from and on which evidence; else nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.measurement import PROBE
from maxact.recipes import recipes
from maxact.remeasure import Stored, hold_study, stored
from maxact.store.keys import action_key
from maxact.store.objects import Manifest, Store
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
    hold_study(study, store)
    wanted = {job.name: recipe for job, recipe in recipes(study, locks) if job.stage == "measure"}
    known = {name: stored(study, name, store) for name in wanted}
    # What needs most devices first: this process keeps those that it has taken.
    for name, found in sorted(known.items(), key=lambda item: -_gpus(item[1])):
        yield Verdict(name, found if isinstance(found, str) else _adopt(found, wanted[name], study, store))


def _gpus(found: Stored | str) -> int:
    """Devices that the measurement took."""
    return 0 if isinstance(found, str) else int(found.record.get("gpus", 0))


def _adopt(found: Stored, recipe: Mapping[str, Any], study: Study, store: Store) -> str:
    manifest, record, inputs = found.manifest, found.record, found.inputs
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
    probe = found.run("probe", recipe, study, store)
    if probe.objects[PROBE].sha256 != manifest.objects[PROBE].sha256:
        return "differs on the probe; it is measured again"
    adopted = {"from": manifest.key, "code": manifest.recipe["code"], "probe": manifest.objects[PROBE].sha256}
    store.record_action(key, record | {"key": key, "recipe": recipe, "adopted": [*record.get("adopted", []), adopted]})
    return "adopted"
