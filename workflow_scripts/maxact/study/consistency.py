"""What must hold between the sections of a study: names that exist, sizes that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maxact.checkpoints.planted.registry import PLANTED
from maxact.corpus.passages import READERS
from maxact.sites.registry import OWN_CODE
from maxact.store.objects import RESERVED
from maxact.study.comparisons import Comparisons
from maxact.study.evaluating import check_evaluate
from maxact.study.mistakes import meant
from maxact.study.paper_check import check_paper_check
from maxact.study.perplexity import check_perplexity
from maxact.study.sensitivity import check_sensitivity
from maxact.study.text import PackagedText, ReadyDataset, SampledDataset

if TYPE_CHECKING:
    from maxact.study import Study


def check(study: Study) -> None:
    """Compare the sections of a study with each other.

    Raises:
        ValueError: the first thing that does not hold, with the key where it is.
    """
    _names(study)
    _checkpoints(study)
    _families(study)
    _corpus(study)
    check_comparisons(study.comparisons, [checkpoint.name for checkpoint in study.checkpoints])
    check_sensitivity(study)
    check_perplexity(study)
    check_evaluate(study)
    check_paper_check(study)


def check_names(study: str, checkpoints: Sequence[str]) -> None:
    """The name of a study is no folder of the store, and no checkpoint is named twice.

    Raises:
        ValueError: the first that is.
    """
    if study in RESERVED:
        raise ValueError(f"study: {study!r} is a folder of the store; choose another name")
    for index, name in enumerate(checkpoints):
        if name in checkpoints[:index]:
            raise ValueError(f"checkpoints[{index}].name: {name!r} is named twice; checkpoint names are unique")


def _names(study: Study) -> None:
    names = [checkpoint.name for checkpoint in study.checkpoints]
    check_names(study.study, names)
    for name in study.tokenizers:
        if name in names:
            raise ValueError(f"tokenizers.{name}: a checkpoint has that name; choose another")


def _checkpoints(study: Study) -> None:
    for index, checkpoint in enumerate(study.checkpoints):
        at = f"checkpoints[{index}] ({checkpoint.name})"
        family = study.families.get(checkpoint.family)
        if family is None:
            raise ValueError(
                f"{at}.family: {checkpoint.family!r} is not under families{meant(checkpoint.family, study.families)}"
            )
        if checkpoint.planted and family.marker is None:
            raise ValueError(f"{at}: families.{checkpoint.family} has no marker, which a planted checkpoint needs")
        if checkpoint.planted and family.model_type not in PLANTED:
            raise ValueError(
                f"families.{checkpoint.family}.model_type: nothing is planted into {family.model_type!r}, but into "
                f"{', '.join(PLANTED)}{meant(family.model_type, PLANTED)}"
            )
        if checkpoint.planted and family.tokenizer == checkpoint.name:
            raise ValueError(f"{at}: a planted checkpoint has no tokenizer of its own; name another checkpoint's")
        if not checkpoint.planted and family.marker is not None:
            raise ValueError(f"{at}: families.{checkpoint.family} has a marker, which is for planted checkpoints only")
        if checkpoint.shards > 1 and study.measure.batch_tokens is not None:
            raise ValueError(
                f"{at}.shards: {checkpoint.shards}, and measure.batch_tokens is given: a shard would put other samples together, "
                "which may change last bits; remove one of the two"
            )
        if checkpoint.shards > study.corpus.samples:
            raise ValueError(f"{at}.shards: {checkpoint.shards} is more than corpus.samples ({study.corpus.samples})")
        if family.model_type in OWN_CODE and checkpoint.remote_code is None:
            raise ValueError(
                f"{at}: {family.model_type} checkpoints bring code of their own, which is not run unless you opt in: read it, "
                "then give remote_code: {sha256: ...} (`maxact digest --code FOLDER`; {} where the hub's lock file pins it) and "
                "environment: ling"
            )


def _families(study: Study) -> None:
    known = [*(checkpoint.name for checkpoint in study.checkpoints), *study.tokenizers]
    for name, family in study.families.items():
        if family.tokenizer not in known:
            raise ValueError(
                f"families.{name}.tokenizer: no checkpoint or trained tokenizer is named {family.tokenizer!r}"
                f"{meant(family.tokenizer, known)}"
            )
        trained = family.tokenizer in study.tokenizers and study.tokenizers[family.tokenizer].kind == "trained"
        if trained and family.marker is None:
            raise ValueError(
                f"families.{name}.tokenizer: a trained tokenizer is for planted families, which have a marker"
            )
        if family.marker and family.marker.sample >= study.corpus.samples:
            raise ValueError(
                f"families.{name}.marker.sample: {family.marker.sample} is not below corpus.samples ({study.corpus.samples})"
            )


def _corpus(study: Study) -> None:
    names = [checkpoint.name for checkpoint in study.checkpoints]
    names += [name for name, tokenizer in study.tokenizers.items() if tokenizer.kind != "trained"]
    optional = [checkpoint.name for checkpoint in study.checkpoints if checkpoint.optional]
    if study.corpus.length_tokenizer in optional:
        raise ValueError(
            f"corpus.length_tokenizer: {study.corpus.length_tokenizer!r} is optional; the corpus needs one that is not"
        )
    if study.corpus.length_tokenizer not in names:
        raise ValueError(
            f"corpus.length_tokenizer: no checkpoint, and no tokenizer from a hub, is named {study.corpus.length_tokenizer!r}"
            f"{meant(study.corpus.length_tokenizer, names)}"
        )
    wanted = study.tokens.splits.calibration + study.tokens.splits.evaluation
    if wanted > study.corpus.samples:
        raise ValueError(
            f"tokens.splits: calibration and evaluation want {wanted} samples, corpus.samples is {study.corpus.samples}"
        )
    if isinstance(study.corpus, PackagedText):
        for domain in study.corpus.proportions:
            if domain not in READERS:
                raise ValueError(
                    f"corpus.proportions: no domain {domain!r}, those of packaged_text are {', '.join(READERS)}"
                    f"{meant(domain, READERS)}"
                )
    for domain in study.loading_check.domains:
        if domain not in study.corpus.proportions:
            raise ValueError(f"loading_check.domains: {domain!r} is not a domain of corpus.proportions")
    corpus, language = study.corpus, study.loading_check.language
    if isinstance(corpus, ReadyDataset):
        said, languages = "corpus.language", {corpus.language}
    elif isinstance(corpus, SampledDataset):
        checked = [domain for domain in corpus.domains if domain.name in study.loading_check.domains]
        said, languages = "corpus.domains", {domain.language for domain in checked}
    else:
        return
    if language not in languages:
        raise ValueError(
            f"loading_check.language: {language!r}, but by {said} the text of loading_check.domains is of "
            f"{', '.join(map(repr, sorted(languages)))}; name the same in both"
        )


def check_comparisons(comparisons: Comparisons, names: Sequence[str]) -> None:
    """Every member of a group is one of the names, once.

    Raises:
        ValueError: the first that is not.
    """
    for question, groups in comparisons.groups().items():
        for group, members in groups.items():
            at = f"comparisons.{question}.{group}"
            for index, member in enumerate(members):
                if member not in names:
                    raise ValueError(
                        f"{at}: no checkpoint is named {member!r}{meant(member, names)}; add it, or remove it from the group"
                    )
                if member in members[:index]:
                    raise ValueError(f"{at}: {member!r} is named twice")
