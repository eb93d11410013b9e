"""The section about what a histogram cannot give: scales that channels, tokens, groups and blocks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from maxact.quantize.formats import Format, is_policy
from maxact.quantize.tensors import NORMED
from maxact.quantize.ways import GRANULARITIES, MAX, clips, ways, why_not_dynamic
from maxact.study.chosen import check_checkpoints, formats_once, once
from maxact.study.mistakes import meant
from maxact.study.sections import Name, Positive, Section

if TYPE_CHECKING:
    from maxact.study import Study


class Smooth(Section):
    """What SmoothQuant reaches at the linear layers behind norms (`maxact/quantize/smoothed.py`)."""

    alphas: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    """How much of the difficulty goes from the activations to the weights."""
    formats: Annotated[list[str], Field(min_length=1)] = ["int8", "fp8_e4m3"]
    """Of inputs and weights alike: symmetric, with a scale to choose."""
    samples: Positive | None = None
    """Of the evaluation split, each domain its share; without it all. What the sites are given is held in memory."""

    @field_validator("alphas")
    @classmethod
    def each_alpha_once(cls, given: list[float]) -> list[float]:
        return once(given, "an alpha")

    @field_validator("formats")
    @classmethod
    def known_formats(cls, given: list[str]) -> list[str]:
        return formats_once(given, lambda format: None if can_smooth(format) else "has no symmetric scale to choose")


def can_smooth(format: Format) -> bool:
    """Whether tensors and rows can have a scale of the format that is theirs alone."""
    return format.scaling == "free" and not format.asymmetric


class Evaluate(Section):
    """One forward pass over the evaluation split."""

    checkpoints: Annotated[list[Name], Field(min_length=1)] | None = None
    """Those that are evaluated; without it all."""
    formats: Annotated[list[str], Field(min_length=1)]
    """Of `maxact/quantize/formats.py`, but for casts."""
    granularities: Annotated[list[str], Field(min_length=1)]
    """What shares a scale (`maxact/quantize/ways.py`). Formats with blocks of their own have these whatever is asked."""
    policies: Annotated[list[str], Field(min_length=1)] = [MAX]
    """How a threshold follows from the elements that share it: `max`, `mse`, `quantile_0.99` (`maxact/quantize/blocks.py`)."""
    protect_channels: list[Positive] = [1, 8]
    """How many of the largest channels are kept as they are."""
    smooth: Smooth | None = None

    def asked(self, seed: int) -> dict[str, Any]:
        """What decides the errors of a checkpoint.

        Args:
            seed: of the study's splits, by which samples are chosen.
        """
        found = self.model_dump(exclude={"checkpoints", "smooth"})
        return found | ({"smooth": {**self.smooth.model_dump(), "seed": seed}} if self.smooth else {})

    @field_validator("formats")
    @classmethod
    def known_formats(cls, given: list[str]) -> list[str]:
        return formats_once(
            given, lambda format: "is a cast, which has no scale to share" if format.scaling == "none" else None
        )

    @field_validator("granularities")
    @classmethod
    def known_granularities(cls, given: list[str]) -> list[str]:
        for name in given:
            if name not in GRANULARITIES:
                known = ", ".join(GRANULARITIES)
                raise ValueError(f"unknown granularity {name!r}{meant(name, GRANULARITIES)}; known: {known}")
        return once(given, "a granularity")

    @field_validator("policies")
    @classmethod
    def known_policies(cls, given: list[str]) -> list[str]:
        for name in given:
            if not is_policy(name):
                raise ValueError(
                    f"unknown policy {name!r}; known: max, mse, quantile_0.<1 to 9 digits, the last not 0>"
                )
            if why := why_not_dynamic(name):
                raise ValueError(f"{name}: {why}")
        return once(given, "a policy")

    @field_validator("protect_channels")
    @classmethod
    def each_number_once(cls, given: list[int]) -> list[int]:
        return once(given, "a number of channels")


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
    section = study.evaluate
    if section is None:
        return
    check_checkpoints("evaluate", section.checkpoints or [], study)
    for name in section.formats:
        if not ways([name], section.granularities):
            raise ValueError(
                f"evaluate.formats: {name} has none of the granularities {', '.join(section.granularities)}; add another, or "
                "leave it out"
            )
    if MAX not in section.policies:
        for name in section.formats:
            for way in ways([name], section.granularities):
                if not clips(way.granularity):
                    raise ValueError(
                        f"evaluate.policies: {name} by {way.granularity} has max alone (a measurement has the largest |x| of a "
                        "channel and no histogram of it); add max"
                    )
    if section.smooth is None:
        return
    if not set(NORMED) & set(study.measure.components):
        raise ValueError(f"evaluate.smooth: measure.components has none of {', '.join(NORMED)}; add them")
    if section.smooth.samples is not None and section.smooth.samples > study.tokens.splits.evaluation:
        held = f"tokens.splits.evaluation ({study.tokens.splits.evaluation})"
        raise ValueError(f"evaluate.smooth.samples: {section.smooth.samples} is above {held}")
