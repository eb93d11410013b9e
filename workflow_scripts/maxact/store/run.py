"""Run one job: look its key up, compute on a miss, write the manifest.

A known key writes the manifest without importing the stage, so a job whose inputs were made again with the same
content costs a process start (early cutoff); an unknown one computes into a scratch folder, stores the
objects, then the action record, then renames the manifest into place. A process that dies at any moment leaves objects
that nothing names, never half a result.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from maxact import devices
from maxact.compiled_cache import give_numba_a_place
from maxact.errors import UnavailableError, UserError
from maxact.stages import is_part, uses_of
from maxact.store.claims import Turn, claimed
from maxact.store.compute import compute
from maxact.store.disk import telling, write_atomically
from maxact.store.dropping import being_read, drop_read
from maxact.store.job import used_objects
from maxact.store.keys import action_key, read_inputs
from maxact.store.objects import Manifest, Store, StoredObject, canonical
from maxact.store.sharing import Shared
from maxact.store.ungiven import forget, note


def run_job(
    stage: str,
    name: str,
    recipe: Mapping[str, Any],
    inputs: Mapping[str, Manifest],
    store: Store,
    gpus: int = 0,
    again: bool = False,
    part_of: tuple[str, Mapping[str, Any]] | None = None,
) -> tuple[Manifest, bool]:
    """The manifest of one job, and whether it had to be computed; with `again` it is computed although it is known.

    A recipe with `device: cuda` takes `gpus` devices of the machine (`maxact/devices.py`), or one, after a miss only.

    With `part_of`, the stage and recipe of what it does a part of from the same inputs, it does nothing where that is known: the
    manifest has no objects then, and says so (`not_needed`).

    Where an optional source cannot be had, it is a manifest without objects whose summary says why (`unavailable`), and so
    is that of every job that reads it alone. Nothing is recorded of it, so that a later run can try again.

    Raises:
        UserError: from the stage, or installed packages that are not those of the recipe.
    """
    key = action_key(stage, name, recipe, inputs)
    for source, above in inputs.items():
        if "/" not in source and "unavailable" in above.summary:
            return Manifest(stage, name, key, recipe, {}, {"unavailable": above.summary["unavailable"]}), False
    whole = part_of and action_key(part_of[0], name, part_of[1], inputs)
    if whole and store.action(whole) is not None:
        return Manifest(stage, name, key, recipe, {}, {"not_needed": whole}), False
    with store.lock(key):
        record: Mapping[str, Any] | None = None if again else store.action(key)
        if record is not None:
            return _known(record, stage, name, recipe, store), False
        with nullcontext(Turn()) if again else claimed(key, f"{stage} {name}", store) as turn:
            if turn.record is not None:
                return _known(turn.record, stage, name, recipe, store), False
            try:
                record = _compute(stage, name, key, recipe, inputs, store, gpus)
            except UnavailableError as error:
                if not recipe["parameters"].get("optional"):
                    raise
                print(f"warning: {stage} {name} is optional and left out: {error}", file=sys.stderr)
                return Manifest(stage, name, key, recipe, {}, {"unavailable": str(error)}), True
            if again:
                store.record_action(key, record)
            else:
                note(key, store)
                store.record_action(key, record)
                record, turn.recorded = _give(key, record, store)
    return replace(Manifest.of_record(record), name=name), True


def _known(record: Mapping[str, Any], stage: str, name: str, recipe: Mapping[str, Any], store: Store) -> Manifest:
    """The manifest of what is recorded already.

    Raises:
        UserError: the record tells of another recipe.
    """
    if record["stage"] != stage or canonical(record["recipe"]) != canonical(recipe):
        raise UserError(f"{store.root}/actions/{record['key']}.json: tells of another recipe; delete it")
    return replace(Manifest.of_record(record), name=name)


def _give(key: str, record: Mapping[str, Any], store: Store) -> tuple[Mapping[str, Any], bool]:
    """Give a new result to other machines; the record that stands, and whether it is where they find it.

    What stands is theirs, where they were first and have other bytes. What cannot be given stays here: hours of work are not
    thrown away because a server is down.
    """
    if store.shared is None:
        return record, True
    told = f"{record['stage']}/{record['name']}"
    try:
        stands = store.shared.give(key, record, store)
    except UserError as error:
        print(f"warning: {told} is made but not given to others ({error}); the run's end tries again", file=sys.stderr)
        return record, False
    if stands is None:  # an object of it was deleted meanwhile
        return record, False
    forget(key, store)
    if all(canonical(stands[part]) == canonical(record[part]) for part in ("objects", "summary")):
        return record, True
    print(f"warning: {told}: another machine has made it first, with other bytes; those are used", file=sys.stderr)
    store.record_elsewhere(key, stands)
    return stands, True


def restore(manifest: Manifest, store: Store, needed: Iterable[StoredObject] | None = None) -> None:
    """Take or make the objects of `manifest` that the store lacks or has damaged, from other machines, or from recipe and inputs.

    Args:
        needed: those that are to be whole; without it all.

    Raises:
        UserError: nothing tells how they were made, or making them again gives other bytes.
    """
    wanted = list(manifest.objects.values() if needed is None else needed)
    with store.lock(manifest.key):
        if all(store.have(item) for item in wanted):
            return
        record = store.action(manifest.key)
        if record is None:
            raise UserError(
                f"{store.root}/actions/{manifest.key}.json: missing, so {manifest.stage}/{manifest.name} cannot be made "
                "again; copy it from where the store came"
            )
        inputs = {source: upstream(key, store) for source, key in record["inputs"].items()}
        recipe, gpus = record["recipe"], record.get("gpus", 0)
        again = _compute(manifest.stage, manifest.name, manifest.key, recipe, inputs, store, gpus)
    if again["objects"] != record["objects"]:
        raise UserError(
            f"{manifest.stage}/{manifest.name}: made again, its bytes differ (code or sources have changed); delete its "
            f"manifest and actions/{manifest.key}.json to accept the new ones"
        )


def whole(manifest: Manifest, store: Store) -> dict[str, Path]:
    """Where the objects of `manifest` lie, by name; those that are missing or damaged are made again."""
    if not all(store.is_whole(item) for item in manifest.objects.values()):
        restore(manifest, store)
    return {name: store.path(item) for name, item in manifest.objects.items()}


def publish(manifest: Manifest, targets: Mapping[str, Path], store: Store) -> None:
    """Copy objects of `manifest` to the paths at which people look for them."""
    for name, target in targets.items():
        source = store.path(manifest.objects[name])
        if not store.is_whole(manifest.objects[name]):
            restore(manifest, store, [manifest.objects[name]])
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        try:
            shutil.copyfile(source, temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)


def run_rule(rule: Any) -> None:
    """Run the job of a Snakemake rule that is named after its stage (`rule` is the script's `snakemake` object).

    A rule with another name has its stage in `params.stage`. Inputs: `key`, the key stamp, and manifests by the names in
    `Stage.uses`, one path or a list; of a job that does a part of another, `whole` is that one's key stamp, and
    `params.part_of` its stage. Outputs: `manifest`, and files to publish, whose names are object names. The store is
    the folder that holds the study's manifests. Weights that are not kept go when no job reads them any more
    (`maxact/store/dropping.py`).
    """
    root = Path(rule.output.manifest).parents[2]
    give_numba_a_place()
    try:
        with telling(root):
            store = Store(root, Shared.of_environment())
            stage = rule.params.get("stage", rule.rule)
            inputs = read_inputs(rule.input.items())
            output = Path(rule.output.manifest)
            recipe = json.loads(Path(rule.input.key).read_text(encoding="utf-8"))
            # Before torch is imported, which reads it then. Snakemake's own number is less where --cores is.
            os.environ["OMP_NUM_THREADS"] = str(recipe["parameters"].get("threads", rule.threads))
            part_of = _part_of(rule)
            gpus = rule.resources.get("gpu", 0) or devices.gpus_in(str(rule.resources.get("gres", "")))
            manifest, computed = run_job(stage, output.stem, recipe, inputs, store, gpus, part_of=part_of)
            publish(manifest, {Path(path).name: Path(path) for path in rule.output if Path(path) != output}, store)
            write_atomically(output, manifest.to_json())
            drop_read(output, inputs, store)
            verb = "computed" if computed else "taken from the store"
            write_atomically(Path(rule.log[0]), f"{stage}/{output.stem}: {verb}, action {manifest.key}\n")
    except UserError as error:
        _stop(rule, str(error))


def _stop(rule: Any, error: str) -> NoReturn:
    """End a job with one line, on a full disk without its log."""
    with suppress(UserError):
        write_atomically(Path(rule.log[0]), f"error: {error}\n")
    sys.exit(f"error: {error}")


def _part_of(rule: Any) -> tuple[str, Mapping[str, Any]] | None:
    """The stage and recipe of what the job of a rule does a part of."""
    stamp = dict(rule.input.items()).get("whole")
    return (rule.params.part_of, json.loads(Path(stamp).read_text(encoding="utf-8"))) if stamp else None


def upstream(key: str, store: Store) -> Manifest:
    """What an action made.

    Raises:
        UserError: its record is missing.
    """
    record = store.action(key)
    if record is None:
        raise UserError(f"{store.root}/actions/{key}.json: missing; copy it from where the store came")
    return Manifest.of_record(record)


def _had(part: Manifest, store: Store) -> bool:
    """Whether the objects of a part are here, or can be taken from another machine; what is not is computed with the rest."""
    return all(store.have(item) for item in part.objects.values())


def _compute(
    stage: str, name: str, key: str, recipe: Mapping[str, Any], inputs: Mapping[str, Manifest], store: Store, gpus: int
) -> dict[str, Any]:
    uses = uses_of(stage, name)
    parts = {source: manifest for source, manifest in inputs.items() if is_part(stage, source)}
    inputs = {source: manifest for source, manifest in inputs.items() if source not in parts}
    with ExitStack() as reading:
        for source, manifest in inputs.items():
            used = used_objects(source, manifest, uses)
            reading.enter_context(being_read(used, store))
            if not all(store.is_whole(item) for item in used.values()):
                restore(manifest, store, used.values())
        taken = max(1, gpus) if recipe["parameters"].get("device") == "cuda" else 0
        if taken:
            devices.take(taken)
        started = time.time()
        with store.scratch() as scratch:
            with store.unfinished(key) as unfinished:
                here = {source: part for source, part in parts.items() if part.objects and _had(part, store)}
                product = compute(stage, name, recipe, inputs | here, store, scratch, unfinished)
            objects = {item: vars(store.put(file)) for item, file in sorted(product.files.items())}
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(process).ru_maxrss for process in processes)
    peak_mib = peak // (1024 if sys.platform == "linux" else 1024**2)
    store.journal(
        {"time": round(started, 3), "host": platform.node(), "stage": stage, "name": name, "key": key}
        | {"seconds": round(time.time() - started, 3), "peak_memory_mib": peak_mib, "costs": product.costs}
    )
    return {
        "stage": stage,
        "name": name,
        "key": key,
        "inputs": {source: manifest.key for source, manifest in inputs.items()},
        "objects": objects,
        "summary": product.summary,
        "recipe": recipe,
        **({"gpus": taken} if taken else {}),
    }
