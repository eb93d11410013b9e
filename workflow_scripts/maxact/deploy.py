"""`maxact scales`: scales of a measured checkpoint of a study, with no forward pass over any text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from maxact import __version__
from maxact.checkpoints.folder import weight_files
from maxact.errors import UserError
from maxact.measurement import SCHEMAS, read_table
from maxact.quantize.export import Choice, Scales, add_reached, scales_of
from maxact.quantize.formats import is_policy
from maxact.quantize.scale_files import OPTION, PLANTED, write
from maxact.quantize.tensors import LINEAR_INPUTS
from maxact.quantize.weights import Weights
from maxact.quantize.wiring import CACHED, wiring
from maxact.remeasure import Stored, hold_study, stored
from maxact.store.dropping import drop
from maxact.store.new_folder import refuse_taken
from maxact.store.objects import Manifest, Store
from maxact.store.run import whole
from maxact.study import Study, load_study
from maxact.study.chosen import refuse_unknown_checkpoint
from maxact.study.named import warn_of_name

TABLES = ("sites.parquet", "histograms.parquet", "channels.parquet")
REACHED = "smoothing.parquet"
WANTED = (*LINEAR_INPUTS, *CACHED)


@dataclass(frozen=True)
class Deployed:
    """What was written, and where."""

    checkpoint: str
    planted: bool
    folder: Path
    scales: Scales

    def to_text(self) -> str:
        """For people."""
        made = self.scales
        inputs = sum(name.endswith(".input_scale") for name in made.static)
        kept = (
            f"{inputs} input scales, {len(made.static) - inputs} of keys and values, {len(made.smooth)} of SmoothQuant"
        )
        who = f"{self.checkpoint}{' (planted)' if self.planted else ''}"
        lines = [f"{self.folder}: {who}: {kept}; {len(made.left_out)} left out, as quantization_config.json says"]
        reached = [(row["evaluation"]["relative_rmse"], f"{row['component']}@{row['layer']}") for row in made.sites]
        errors = [(error, name) for error, name in reached if isinstance(error, float)]
        if errors:
            worst, name = max(errors)
            lines.append(f"relative RMSE on the evaluation split: up to {worst:.3g}, at {name}")
        return "\n".join(lines)


def deploy(file: Path, checkpoint: str, store: Store, folder: Path, choice: Choice) -> Deployed:
    """Write the scales of a measured checkpoint into a new folder.

    Args:
        file: the study's.
        checkpoint: its name there.

    Raises:
        UserError: an unknown checkpoint or policy, nothing measured that scales are made from, the folder is taken, or
            transformers cannot build the architecture.
    """
    study = load_study(file)
    warn_of_name(study.study, file, store.root)
    _check(study, checkpoint, choice)
    refuse_taken(folder, OPTION)
    hold_study(study, store)
    found = stored(study, checkpoint, store)
    if isinstance(found, str):
        raise UserError(f"{checkpoint}: {found}; run snakemake --cores all --configfile {file} first")
    tables = whole(_only(found.manifest, TABLES), store)
    sites, histograms, channels = (read_table(tables[name]) for name in TABLES)
    _check_measured(checkpoint, sites)
    with _opened(found, study, store) as opened:
        weights = Weights(weight_files(opened))
        scales = scales_of(sites, histograms, channels, wiring(opened, weights.names), weights, choice)
    add_reached(scales, _reached(study, found, checkpoint, store), choice.alpha)
    if not scales.static and not scales.smooth:
        first = scales.left_out[0]
        raise UserError(f"{checkpoint}: nothing has a scale; {first['component']}@{first['layer']}: {first['reason']}")
    unmeasured = [name for name in WANTED if name not in set(sites["component"])]
    write(folder, scales, choice, {**_provenance(study, found, checkpoint), "not_measured": unmeasured})
    return Deployed(checkpoint, study.checkpoint(checkpoint).planted, folder, scales)


def _check(study: Study, checkpoint: str, choice: Choice) -> None:
    refuse_unknown_checkpoint(checkpoint, study)
    if study.checkpoint(checkpoint).remote_code is not None:
        raise UserError(
            f"{checkpoint}: brings code of its own, without which its modules have no names; it is not run here"
        )
    if not is_policy(choice.policy):
        raise UserError(f"--policy {choice.policy}: not a policy; say max, mse, entropy or quantile_0.<digits>")
    if not 0 <= choice.alpha <= 1:
        raise UserError(f"--alpha {choice.alpha}: not from 0 to 1; SmoothQuant's own is 0.5")


def _check_measured(checkpoint: str, sites: pd.DataFrame) -> None:
    if set(SCHEMAS["sites"].names) - set(sites.columns):
        raise UserError(f"{checkpoint}: was measured by an older version; run the study again")
    if not set(sites.loc[sites["status"] == "measured", "component"]) & set(WANTED):
        raise UserError(
            f"{checkpoint}: none of {', '.join(WANTED)} was measured; add them to measure.components, or say `all`, and run "
            "snakemake again"
        )


@contextmanager
def _opened(found: Stored, study: Study, store: Store) -> Iterator[Path]:
    """A folder with configuration and weights; weights that are not kept go again afterwards."""
    checkpoint = found.inputs["checkpoint"]
    there = {name for name, item in checkpoint.objects.items() if store.path(item).exists()}
    names = [name for name in checkpoint.objects if name == "config.json" or name.endswith(".safetensors")]
    needed = _only(checkpoint, names)
    try:
        whole(needed, store)
        with store.scratch() as scratch:
            yield store.materialize(needed.objects, scratch / "checkpoint")
    finally:
        if not study.keep_weights:
            fresh = _only(checkpoint, [name for name in names if name not in there])
            drop(fresh, store, found.path.parents[1])


def _reached(study: Study, found: Stored, checkpoint: str, store: Store) -> pd.DataFrame | None:
    """What SmoothQuant reaches, where the study has evaluated it with this very measurement."""
    path = store.root / study.study / "evaluate" / f"{checkpoint}.json"
    if not path.exists():
        return None
    manifest = Manifest.read(path)
    record = store.action(manifest.key)
    if record is None or record["inputs"].get("measure") != found.manifest.key or REACHED not in manifest.objects:
        return None
    return pd.read_parquet(whole(_only(manifest, [REACHED]), store)[REACHED])


def _only(manifest: Manifest, names: Sequence[str]) -> Manifest:
    return dataclasses.replace(manifest, objects={name: manifest.objects[name] for name in names})


def _provenance(study: Study, found: Stored, checkpoint: str) -> dict[str, Any]:
    about, splits = found.inputs["checkpoint"], found.inputs["tokens"].summary["splits"]
    source = about.recipe["parameters"]["source"]
    pin = source.get("pin") or {}
    planted = study.checkpoint(checkpoint).planted
    return {
        "version": __version__,
        "transformers": version("transformers"),
        "study": study.study,
        "checkpoint": checkpoint,
        "planted": PLANTED if planted else False,
        "source": about.summary["source"],
        "revision": pin.get("commit"),
        "ancestry": about.summary["ancestry"],
        "licence": about.summary["licence"],
        "weights": {name: item.sha256 for name, item in about.objects.items() if name.endswith(".safetensors")},
        "measurement": {
            "action": found.manifest.key,
            "tables": {name: found.manifest.objects[name].sha256 for name in TABLES},
            "dtype": found.manifest.recipe["parameters"]["dtype"],
        },
        "calibration_samples": splits.get("calibration", 0),
        "evaluation_samples": splits.get("evaluation", 0),
    }
