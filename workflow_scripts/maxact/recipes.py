"""Key stamps: the recipe of every job of a study, as files that are ordinary inputs of the rules.

Snakemake does not watch imported modules, compares parameters as an unordered set and forgets them with its metadata
(docs/decisions/key-stamps.md). A stamp is rewritten only when its text changes, so its time tells Snakemake what to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maxact.checkpoints.planted.registry import PLANTED
from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.sites.registry import adapter_of
from maxact.stages import STAGES
from maxact.store.code import code_digest
from maxact.store.objects import canonical, write_if_changed
from maxact.study import Checkpoint, Study


def write_stamps(study: Study, folder: Path, locks: Path) -> None:
    """Bring `folder`/<stage>/<name>.json up to date, touching no file whose text stays.

    Args:
        study: what is to be made.
        folder: the study's folder of stamps.
        locks: the folder with the locked requirements.
    """
    versions = locked_versions(locks)
    for stage, name, parameters, modules in jobs(study):
        recipe = {
            "parameters": parameters,
            "code": code_digest([STAGES[stage].module, *modules]),
            "packages": {package: versions[package] for package in STAGES[stage].packages},
        }
        write_if_changed(folder / stage / f"{name}.json", canonical(recipe) + "\n")


def jobs(study: Study) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    """Stage, name, parameters, and the modules beyond the stage's own, of every job."""
    yield "corpus", "corpus", study.corpus.model_dump(exclude={"length_tokenizer"}), []
    for name, tokenizer in study.tokenizers.items():
        yield "tokenizer", name, tokenizer.model_dump(), []
    for name, family in study.families.items():
        marker = family.marker.model_dump() if family.marker else None
        yield "tokens", name, {**study.tokens.model_dump(), "marker": marker}, []
    for checkpoint in study.checkpoints:
        yield from _jobs_of_checkpoint(study, checkpoint)
    members = [{"name": checkpoint.name, "family": checkpoint.family} for checkpoint in study.checkpoints]
    yield "results", "results", {"checkpoints": members, **study.quantize.model_dump()}, []
    for figure in FIGURES:
        yield "figures", figure, study.figures.style(figure), [FIGURES[figure].module]


def _jobs_of_checkpoint(study: Study, checkpoint: Checkpoint) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    family = study.families[checkpoint.family]
    loading = {**study.measure.model_dump(exclude={"components"}), "model_type": family.model_type}
    planting: list[str] = []
    source: dict[str, Any] = {"source": checkpoint.source.model_dump(), "model_type": family.model_type}
    if checkpoint.planted:
        # Lengths are counted with another tokenizer than the family's: room for its own count.
        source |= {"marker": family.marker and family.marker.model_dump(), "context": 8 * max(study.corpus.lengths)}
        planting = [PLANTED[family.model_type]] if family.model_type in PLANTED else []
    if checkpoint.optional:
        source["optional"] = True
    yield "checkpoint", checkpoint.name, source, planting
    if not checkpoint.planted:
        check = {**study.loading_check.model_dump(), "ceiling": checkpoint.perplexity_ceiling, **loading}
        yield "loading_check", checkpoint.name, check, []
    adapter = adapter_of(family.model_type)  # an unknown family is refused by the stage, with the known ones
    modules = [adapter] if adapter else []
    yield "measure", checkpoint.name, {"components": study.measure.components, **loading}, modules
    yield "quantize", checkpoint.name, study.quantize.model_dump(), []


def locked_versions(locks: Path) -> dict[str, str]:
    """Distribution -> version, as pinned in all `*.txt` of the folder of locks.

    Raises:
        UserError: the folder has no locks.
    """
    pins: dict[str, str] = {}
    for file in sorted(locks.glob("*.txt")):
        pins |= dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    if not pins:
        raise UserError(f"{locks}: no locked requirements; run `make lock`")
    return pins
