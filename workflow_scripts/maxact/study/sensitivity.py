"""The section about sensitivity: which choices are varied, one at a time, on which checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from maxact.errors import UserError
from maxact.study.chosen import check_checkpoints, once
from maxact.study.sections import Name, Positive, Section
from maxact.study.text import SpecialTokens

if TYPE_CHECKING:
    from maxact.study import Study

OWN = "study"
"""The variant in which all is as the study has it."""


class Vary(Section):
    """Settings to try in place of the study's own."""

    special_tokens: list[SpecialTokens] = []
    dtype: list[Literal["bfloat16", "float16", "float32"]] = []
    attention: list[Literal["sdpa", "eager"]] = []
    batch_tokens: list[Positive] = []
    length: list[Positive] = []
    """Samples are cut to their first so many tokens."""

    @model_validator(mode="after")
    def something(self) -> Vary:
        given = self.model_dump()
        if not any(given.values()):
            raise ValueError(f"nothing to vary; give one of {', '.join(given)}")
        for setting, values in given.items():
            once(values, f"{setting}: a value")
        return self


class Sensitivity(Section):
    """By how much M depends on choices; `snakemake sensitivity`."""

    checkpoints: Annotated[list[Name], Field(min_length=1)]
    samples: Positive
    """Of the corpus, each domain its share."""
    vary: Vary


def variants(study: Study) -> Iterator[tuple[str, str | None, Any]]:
    """Name, setting and value of each variant that is not the study's own, after `OWN`; none without the section."""
    if study.sensitivity is None:
        return
    yield OWN, None, None
    own = {**study.measure.model_dump(), "special_tokens": study.tokens.special_tokens}
    for setting, values in study.sensitivity.vary.model_dump().items():
        for value in values:
            if value != own.get(setting):
                yield f"{setting}-{value}", setting, value


def refuse_without_sensitivity(study: Study, files: Sequence[Path]) -> None:
    """Refuse to compute what the study does not ask for.

    Raises:
        UserError: names its files.
    """
    if study.sensitivity is None:
        named = ", ".join(map(str, files))
        raise UserError(f"{named}: has no section sensitivity; add one like that of studies/pocket.yaml")


def check_sensitivity(study: Study) -> None:
    """Compare the section with the others.

    Raises:
        ValueError: what does not hold.
    """
    section = study.sensitivity
    if section is None:
        return
    check_checkpoints("sensitivity", section.checkpoints, study, real=True)
    if section.samples > study.corpus.samples:
        raise ValueError(f"sensitivity.samples: {section.samples} is above corpus.samples ({study.corpus.samples})")
