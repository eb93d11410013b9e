"""Key stamps: the recipe of every job of a study, as files that are ordinary inputs of the rules.

Snakemake does not watch imported modules, compares parameters as an unordered set and forgets them with its metadata
(docs/decisions/key-stamps.md). A stamp is rewritten only when its text changes, so its time tells Snakemake what to run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from maxact.checkpoints.planted.registry import PLANTED
from maxact.checkpoints.sources.registry import KINDS
from maxact.corpus.registry import RECIPES
from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.published.choice import published_source
from maxact.results.registry import made_of
from maxact.sites.registry import adapter_of
from maxact.stages import OWN_CODE, STAGES
from maxact.store.code import code_digest
from maxact.store.disk import write_if_changed
from maxact.store.objects import canonical
from maxact.study import Checkpoint, PublishedStudy, Study
from maxact.study.checkpoints import Environment
from maxact.study.evaluating import evaluated
from maxact.study.paper_check import paper_checked
from maxact.study.perplexity import perplexed
from maxact.study.sensitivity import variants
from maxact.tokenizers.registry import TOKENIZERS

PLANNING: Any = {"pin": {"shape"}}
"""What a source says of itself for planning alone; the digests of its files decide."""


def write_stamps(study: Study | PublishedStudy, folder: Path, locks: Path) -> None:
    """Bring `folder`/<stage>/<name>.json up to date, touching no file whose text stays.

    Args:
        study: what is to be made.
        folder: the study's folder of stamps.
        locks: the folder with the locked requirements.
    """
    for job, recipe in recipes(study, locks):
        write_if_changed(folder / job.stage / f"{job.name}.json", canonical(recipe) + "\n")


def recipes(study: Study | PublishedStudy, locks: Path) -> Iterator[tuple[JobRecipe, dict[str, Any]]]:
    """Every job of a study with its recipe as key stamps have it: parameters, code digest, locked versions."""
    environments: set[Environment | None] = {None}
    if isinstance(study, Study):
        environments |= {checkpoint.environment for checkpoint in study.checkpoints}
    locked = {environment: locked_versions(locks, environment) for environment in environments}
    # Not for longer than this call, in which no module changes.
    digest = functools.cache(code_digest)
    for job in jobs(study) if isinstance(study, Study) else jobs_of_published(study):
        stage = STAGES[job.stage]
        versions = locked[job.environment]
        recipe = {
            "parameters": job.parameters,
            "code": digest(job.decides if job.decides is not None else (stage.module, *job.modules)),
            "packages": {package: versions[package] for package in (*stage.packages, *job.packages)},
            **({"environment": job.environment} if job.environment else {}),
        }
        yield job, recipe


@dataclass(frozen=True)
class JobRecipe:
    """What decides a job beside its inputs: parameters, and modules and packages beyond those of its stage.

    Where `decides` is given, those modules alone are its code. `environment` is that of the checkpoint that it opens.
    """

    stage: str
    name: str
    parameters: dict[str, Any]
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    decides: tuple[str, ...] | None = None
    environment: Environment | None = None


def jobs(study: Study) -> Iterator[JobRecipe]:
    """Every job of a study."""
    recipe = RECIPES[study.corpus.recipe]
    yield JobRecipe(
        "corpus", "corpus", study.corpus.model_dump(exclude={"length_tokenizer"}), (recipe.module,), recipe.packages
    )
    for name, tokenizer in study.tokenizers.items():
        kind = TOKENIZERS[tokenizer.kind]
        asked = tokenizer.model_dump(exclude=PLANNING)
        yield JobRecipe("tokenizer", name, asked, (kind.module,), kind.packages)
    for name, family in study.families.items():
        marker = family.marker.model_dump() if family.marker else None
        asked = {**study.tokens.model_dump(), "marker": marker}
        yield JobRecipe("tokens", name, asked, packages=_packages_of(asked))
    asked_of = {
        "perplexity": frozenset(perplexed(study)),
        "evaluate": frozenset(evaluated(study)),
        "paper_check": frozenset(paper_checked(study)),
    }
    for checkpoint in study.checkpoints:
        yield from _jobs_of_checkpoint(
            study, checkpoint, {stage for stage, names in asked_of.items() if checkpoint.name in names}
        )
    # A stamp tells that results are made from less than before; an input that is gone does not.
    passes = {stage: sorted(names) for stage, names in asked_of.items()}
    asked = {"checkpoints": members_of(study), "passes": passes, **study.quantize.model_dump()}
    if study.paper_check is not None:
        asked["paper_check"] = study.paper_check.model_dump(include={"bins", "bits", "quantile"})
    yield from _shown(study, asked)
    if study.sensitivity is not None:
        yield JobRecipe("sensitivity", "sensitivity", _sensitivity(study))


def jobs_of_published(study: PublishedStudy) -> Iterator[JobRecipe]:
    """Every job of a study of published results."""
    source = published_source(study)
    yield JobRecipe("published", "published", source)
    yield JobRecipe("audit", "audit", source)
    yield from _shown(study, {"checkpoints": study.members()})


def _shown(study: Study | PublishedStudy, parameters: dict[str, Any]) -> Iterator[JobRecipe]:
    """The jobs whose results people look at, which all studies have alike."""
    # In lists: a key stamp sorts the keys of mappings, and questions and groups have an order.
    comparisons = [
        {"question": question, "groups": [[group, names] for group, names in groups.items()]}
        for question, groups in study.comparisons.groups().items()
    ]
    yield JobRecipe("results", "results", {**parameters, "comparisons": comparisons})
    for figure, entry in made_of(FIGURES, study.provides).items():
        rows = {} if entry.rows is None else {"rows": list(entry.rows)}
        yield JobRecipe("figures", figure, {**study.figures.style(figure), **rows}, (entry.module,))


def _packages_of(tokens: dict[str, Any]) -> tuple[str, ...]:
    """Those that decide token ids beside the tokenizer's."""
    return ("jinja2", "transformers") if tokens["special_tokens"] == "chat" else ()


def _sensitivity(study: Study) -> dict[str, Any]:
    assert study.sensitivity is not None
    told = [{"name": name, "setting": setting, "value": value} for name, setting, value in variants(study)]
    style = study.figures.model_dump(exclude={"overrides"})
    return {"checkpoints": study.sensitivity.checkpoints, "variants": told, "style": style}


def members_of(study: Study) -> list[dict[str, Any]]:
    """The checkpoints as the recipe of the results has them."""
    return [
        {"name": checkpoint.name, "family": checkpoint.family, "role": checkpoint.role}
        for checkpoint in study.checkpoints
    ]


def _jobs_of_checkpoint(study: Study, checkpoint: Checkpoint, asked_of: set[str]) -> Iterator[JobRecipe]:
    """The jobs of one checkpoint; `asked_of` are the passes that the study asks of it."""
    name, model_type = checkpoint.name, study.families[checkpoint.family].model_type
    code = {"remote_code": checkpoint.remote_code.model_dump()} if checkpoint.remote_code else {}
    opening = (OWN_CODE,) if code else ()
    loading = {**study.measure.running(), "model_type": model_type, **code}
    run = functools.partial(JobRecipe, modules=(adapter_of(model_type), *opening), environment=checkpoint.environment)
    yield _weights(study, checkpoint, code, opening)
    if not checkpoint.planted:
        check = {**study.loading_check.model_dump(), "ceiling": checkpoint.perplexity_ceiling, **loading}
        yield JobRecipe("loading_check", name, check, opening, environment=checkpoint.environment)
    measuring = {**study.measure.watching(), **loading}
    yield run("measure", name, measuring)
    for number, shard in enumerate(checkpoint.shard_names(), 1):
        yield run("shard", shard, {**measuring, "shard": [number, checkpoint.shards]})
    if study.sensitivity is not None and name in study.sensitivity.checkpoints:
        varied = {**measuring, "special_tokens": study.tokens.special_tokens, "length": None}
        varied |= {"samples": study.sensitivity.samples, "seed": study.tokens.seed}
        for variant, setting, value in variants(study):
            changed = varied if setting is None else {**varied, setting: value}
            yield run("variant", f"{name}.{variant}", changed, packages=_packages_of(changed))
    yield JobRecipe("quantize", name, study.quantize.model_dump())
    if study.perplexity is not None and "perplexity" in asked_of:
        quantizing = {
            "quantizers": study.perplexity.asked(),
            "samples": study.perplexity.samples,
            "seed": study.tokens.seed,
        }
        yield run("perplexity", name, quantizing | loading)
    if study.evaluate is not None and "evaluate" in asked_of:
        evaluating = {**study.evaluate.asked(study.tokens.seed), "components": study.measure.components}
        yield run("evaluate", name, evaluating | loading)
    if study.paper_check is not None and "paper_check" in asked_of:
        lines = study.paper_check.model_dump(include={"calibration", "evaluation"})
        yield run("paper_check", name, lines | loading)


def _weights(study: Study, checkpoint: Checkpoint, code: Mapping[str, Any], opening: tuple[str, ...]) -> JobRecipe:
    """The job that puts a checkpoint into the store."""
    family, kind = study.families[checkpoint.family], KINDS[checkpoint.source.kind]
    modules = [kind.module]
    source: dict[str, Any] = {"source": checkpoint.source.model_dump(exclude=PLANNING), "model_type": family.model_type}
    if checkpoint.planted:
        # Lengths are counted with another tokenizer than the family's: room for its own count.
        source |= {"marker": family.marker and family.marker.model_dump(), "context": 8 * study.corpus.longest}
        modules += [PLANTED[family.model_type]] if family.model_type in PLANTED else []
    if checkpoint.optional:
        source["optional"] = True
    return JobRecipe(
        "checkpoint", checkpoint.name, {**source, **code}, (*modules, *opening), kind.packages, kind.decides
    )


def locked_versions(locks: Path, environment: str | None) -> dict[str, str]:
    """Distribution -> version, as pinned in the folder of locks for the study, or for an environment beside its own.

    Raises:
        UserError: the folder has no locks.
    """
    pins: dict[str, str] = {}
    apart = {f"{name}.txt" for name in get_args(Environment)}
    wanted = {f"{environment}.txt", "torch.txt"}
    files = [
        file for file in sorted(locks.glob("*.txt")) if (file.name in wanted if environment else file.name not in apart)
    ]
    for file in files:
        pins |= dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    if not pins or (environment and not (locks / f"{environment}.txt").exists()):
        raise UserError(
            f"{locks}: no locked requirements{f' for {environment}' if environment else ''}; run `make lock`"
        )
    return pins
