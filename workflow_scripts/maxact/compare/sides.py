"""Open a measurement that is to be compared: from a study in the store, from a manifest, or from a folder of tables.

Tables are those of `maxact/measurement.py`. `sites` must be there; others, and any value, may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from maxact.errors import UserError
from maxact.measurement import SCHEMAS, read_table
from maxact.store.objects import Manifest, Store, StoredObject, canonical, digest_text
from maxact.store.sharing import Shared
from maxact.study import PublishedStudy, load_any_study
from maxact.study.chosen import refuse_unknown_checkpoint
from maxact.study.named import warn_of_name

ABOUT = "about.json"
"""Beside the tables that `maxact measure --tables` writes: what was measured, and how."""

SETTINGS = (
    *("weights", "corpus", "tokens", "special tokens", "dtype", "attention"),
    *("batch tokens", "device", "torch", "transformers", "measuring code"),
)
"""What decides a measurement, in the order in which differences are told."""

TABLES = ("sites", "samples", "histograms")


@dataclass(frozen=True)
class Side:
    """One of the two measurements.

    Attributes:
        name: as the user gave it.
        checkpoint: what it is of.
        planted: whether that is a planted checkpoint.
        files: table -> file, of those of `TABLES` that there are.
        tokens: the `tokens.parquet` that was measured; None where it is not known or not there.
        settings: of `SETTINGS`, those that are known.
        study: whether it is of a study, whose digests of weights, tokens and code are of other things than those of a folder.
        folder_digest: of a study, the digest that a folder of tables of the same weights has; None where it is not known.
    """

    name: str
    checkpoint: str
    planted: bool
    files: Mapping[str, Path]
    tokens: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    study: bool = True
    folder_digest: str | None = None

    @cached_property
    def line_digest(self) -> str | None:
        """The digest that `maxact measure` has (`measure/run.py`) for lines of these tokens; None where they are not known."""
        if self.tokens is None:
            return None
        table = pq.read_table(self.tokens, columns=["sample", "token_ids"])
        lines = sorted(zip(table["sample"].to_pylist(), table["token_ids"].to_pylist(), strict=True))
        return digest_text(repr([(number, "rest", tuple(ids)) for number, ids in lines]))

    def table(self, name: str) -> pd.DataFrame:
        """A table of `TABLES` that the side has, as `measurement.py` describes it.

        Raises:
            UserError: it is of another version of this software, or cannot be read.
        """
        try:
            frame = read_table(self.files[name])
        except (OSError, ValueError) as error:  # what pyarrow raises is either
            raise UserError(
                f"{self.name}: {name}.parquet cannot be read ({error.__class__.__name__}); write it again"
            ) from None
        absent = [column for column in SCHEMAS[name].names if column not in frame.columns]
        if absent:
            raise UserError(
                f"{self.name}: {name}.parquet has no column {absent[0]}, so another version of maxact wrote it; measure again "
                "with this one"
            )
        return frame


def open_side(name: str, root: Path) -> Side:
    """A measurement by what the user calls it: STUDY.yaml:CHECKPOINT, a manifest, or a folder of tables.

    Args:
        root: the store in which measurements of studies are.

    Raises:
        UserError: there is none, or not whole.
    """
    path = Path(name)
    if path.is_dir():
        return _of_folder(name, path)
    if path.suffix == ".json":
        return _of_manifest(name, path)
    study, colon, checkpoint = name.rpartition(":")
    if not colon or Path(study).suffix not in (".yaml", ".yml"):
        what = "a file" if path.exists() else "no such folder"
        raise UserError(f"{name}: {what}; give a folder of tables, a manifest, or STUDY.yaml:CHECKPOINT")
    return _of_study(name, study, checkpoint, root)


def _of_study(name: str, file: str, checkpoint: str, root: Path) -> Side:
    study = load_any_study(Path(file))
    warn_of_name(study.study, Path(file), root)
    refuse_unknown_checkpoint(checkpoint, study)
    published = isinstance(study, PublishedStudy)
    path = root / study.study / ("published/published.json" if published else f"measure/{checkpoint}.json")
    if not path.exists():
        raise UserError(
            f"{path}: {checkpoint} is not there yet; run snakemake --configfile {file} first, or say --store"
        )
    if isinstance(study, PublishedStudy):
        found_as = next(item.found_as for item in study.checkpoints if item.name == checkpoint)
        return _of_published(name, checkpoint, found_as, path)
    return _of_manifest(name, path)


def _of_published(name: str, checkpoint: str, found_as: str, path: Path) -> Side:
    """A checkpoint of published results, of which the tables of sites alone are known."""
    manifest = Manifest.read(path)
    item = manifest.objects.get(f"{found_as}.sites.parquet")
    if item is None:
        raise UserError(f"{name}: the published files have no {found_as!r} that could be read; see published_problems")
    return Side(name, checkpoint, False, {"sites": _whole(name, "sites", item, _store_of(path))})


def _store_of(manifest: Path) -> Store:
    return Store(manifest.resolve().parents[2], Shared.of_environment())


def _whole(name: str, table: str, item: StoredObject, store: Store) -> Path:
    if not store.have(item):
        raise UserError(
            f"{store.path(item)}: {table}.parquet of {name} is missing or damaged; run the study again, or import an archive "
            "that was exported --with-measurements"
        )
    return store.path(item)


def _of_manifest(name: str, path: Path) -> Side:
    try:
        manifest = Manifest.read(path)
    except OSError:
        raise UserError(f"{path}: no such file; give artifacts/STUDY/measure/CHECKPOINT.json") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a manifest; give artifacts/STUDY/measure/CHECKPOINT.json") from None
    if "unavailable" in manifest.summary:
        raise UserError(f"{name}: was not available ({manifest.summary['unavailable']}), so nothing is measured")
    if "sites.parquet" not in manifest.objects:
        raise UserError(
            f"{path}: not of a measurement but of the stage {manifest.stage!r}; give artifacts/STUDY/measure/CHECKPOINT.json"
        )
    store = _store_of(path)
    there = {table: manifest.objects.get(f"{table}.parquet") for table in TABLES}
    files = {table: _whole(name, table, item, store) for table, item in there.items() if item is not None}
    above = _above(manifest, store)
    checkpoint = above.get("checkpoint")
    planted = checkpoint is not None and bool(checkpoint.summary.get("planted"))
    digest = None
    if checkpoint is not None:  # as `checkpoints/folder.py` has it
        digest = digest_text(canonical({file: item.sha256 for file, item in checkpoint.objects.items()}))
    tokens, settings = _tokens(above, store), _settings(manifest, above)
    return Side(name, manifest.name, planted, files, tokens, settings, folder_digest=digest)


def _above(manifest: Manifest, store: Store) -> dict[str, Manifest]:
    """What a measurement was made from, as far as the store knows; and what its tokens were: `corpus`."""
    record = store.action(manifest.key) or {"inputs": {}}
    found = {source: store.action(key) for source, key in record["inputs"].items()}
    tokens = found.get("tokens")
    if tokens is not None:
        found["corpus"] = store.action(tokens["inputs"].get("corpus", ""))
    return {source: Manifest.of_record(made) for source, made in found.items() if made is not None}


def _tokens(above: Mapping[str, Manifest], store: Store) -> Path | None:
    item = above["tokens"].objects.get("tokens.parquet") if "tokens" in above else None
    return store.path(item) if item is not None and store.have(item) else None


def _settings(manifest: Manifest, above: Mapping[str, Manifest]) -> dict[str, Any]:
    recipe = manifest.recipe
    parameters, packages = recipe["parameters"], recipe.get("packages", {})
    told: dict[str, Any] = {
        "dtype": parameters.get("dtype"),
        "attention": manifest.summary.get("attention"),
        "batch tokens": manifest.summary.get("batch_tokens") or "one sample a pass",
        "device": parameters.get("device", "cpu"),
        "torch": packages.get("torch"),
        "transformers": packages.get("transformers"),
        "measuring code": recipe.get("code"),
    }
    if "checkpoint" in above:
        weights = {
            name: item.sha256 for name, item in above["checkpoint"].objects.items() if name.endswith(".safetensors")
        }
        told["weights"] = " ".join(digest for _, digest in sorted(weights.items()))
    if "tokens" in above:
        told["tokens"] = above["tokens"].objects["tokens.parquet"].sha256
        told["special tokens"] = above["tokens"].summary.get("special_tokens")
    if "corpus" in above:
        told["corpus"] = above["corpus"].objects["samples.parquet"].sha256
    return {name: value for name, value in told.items() if value is not None}


def _of_folder(name: str, folder: Path) -> Side:
    files = {table: folder / f"{table}.parquet" for table in TABLES if (folder / f"{table}.parquet").is_file()}
    if "sites" not in files:
        raise UserError(f"{folder}: has no sites.parquet; give a folder that `maxact measure --tables` has written")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        checkpoint = str(about.get("checkpoint", folder.name))
    except FileNotFoundError:
        about, checkpoint = {}, folder.resolve().name
    except (ValueError, AttributeError):
        raise UserError(
            f"{folder / ABOUT}: not what `maxact measure --tables` writes; write the folder again"
        ) from None
    settings = {setting: about[setting] for setting in SETTINGS if about.get(setting) is not None}
    return Side(name, checkpoint, bool(about.get("planted")), files, None, settings, study=False)


def known_same(setting: str, a: Side, b: Side) -> bool:
    """Whether by their digests both have the same weights, tokens, corpus or code.

    Of a study and a folder of tables that can be told of weights, and of tokens that the study still has; that they are not
    the same cannot, as the digests are of files that may be fewer, and of lines in their order.
    """
    values = [side.settings.get(setting) for side in (a, b)]
    if None in values or a.study == b.study:
        return None not in values and values[0] == values[1]
    study, folder = (a, b) if a.study else (b, a)
    if setting == "tokens":
        return bool(study.line_digest == folder.settings[setting])
    return setting == "weights" and study.folder_digest == folder.settings[setting]


def about_tables(about: Mapping[str, Any]) -> str:
    """The text of `ABOUT` for a measurement outside a study: of `SETTINGS` those that its parts have in common.

    Args:
        about: of its part (`measure/parts.py`).
    """
    told = {
        "checkpoint": about["checkpoint"],
        "weights": about["weights"],
        "tokens": about["samples"],
        "dtype": about["dtype"].removeprefix("torch."),
        "attention": about["attention"],
        "batch tokens": about["batch_tokens"] or "one sample a pass",
        "device": about["device"],
        "torch": about["torch"],
        "transformers": about["transformers"],
        "measuring code": about["code"],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"
