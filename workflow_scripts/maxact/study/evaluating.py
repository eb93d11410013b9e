"""The section about what a histogram cannot give: scales that channels, tokens, groups and blocks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from maxact.quantize.formats import FORMATS, known_formats
from maxact.quantize.ways import GRANULARITIES
from maxact.study.mistakes import meant
from maxact.study.sections import Name, Positive, Section

if TYPE_CHECKING:
    from maxact.study import Study


class Evaluate(Section):
    """One forward pass over the evaluation split."""

    checkpoints: list[Name] | None = None
    """Those that are evaluated; without it all."""
    formats: Annotated[list[str], Field(min_length=1)]
    """Of `maxact/quantize/formats.py`, but for casts."""
    granularities: Annotated[list[str], Field(min_length=1)]
    """What shares a scale (`maxact/quantize/ways.py`). Formats with blocks of their own have these whatever is asked."""
    protect_channels: list[Positive] = [1, 8]
    """How many of the largest channels are kept as they are."""

    def asked(self) -> dict[str, Any]:
        """What decides the errors of a checkpoint."""
        return self.model_dump(exclude={"checkpoints"})

    @field_validator("formats")
    @classmethod
    def known_formats(cls, given: list[str]) -> list[str]:
        for name in given:
            if name not in FORMATS:
                raise ValueError(f"unknown format {name!r}{meant(name, FORMATS)}; known: {known_formats()}")
            if FORMATS[name].scaling == "none":
                raise ValueError(f"{name} is a cast, which has no scale to share; leave it out")
        return _once(given, "a format")

    @field_validator("granularities")
    @classmethod
    def known_granularities(cls, given: list[str]) -> list[str]:
        for name in given:
            if name not in GRANULARITIES:
                known = ", ".join(GRANULARITIES)
                raise ValueError(f"unknown granularity {name!r}{meant(name, GRANULARITIES)}; known: {known}")
        return _once(given, "a granularity")

    @field_validator("protect_channels")
    @classmethod
    def each_number_once(cls, given: list[int]) -> list[int]:
        return _once(given, "a number of channels")


def _once(given: list[Any], what: str) -> list[Any]:
    if len(set(given)) < len(given):
        raise ValueError(f"{what} is named twice")
    return given


def evaluated(study: Study) -> Sequence[str]:
    """The names of the checkpoints that are evaluated, in the order of the study."""
    if study.evaluate is None:
        return []
    chosen = study.evaluate.checkpoints
    return [item.name for item in study.checkpoints if chosen is None or item.name in chosen]


def check_evaluate(study: Study) -> None:
    """Compare the section with the others.

    Raises:
        ValueError: what does not hold.
    """
    chosen = study.evaluate.checkpoints if study.evaluate else None
    known = [checkpoint.name for checkpoint in study.checkpoints]
    for index, name in enumerate(chosen or []):
        at = f"evaluate.checkpoints[{index}]"
        if name not in known:
            raise ValueError(f"{at}: no checkpoint is named {name!r}{meant(name, known)}")
        if name in (chosen or [])[:index]:
            raise ValueError(f"{at}: {name!r} is named twice")
