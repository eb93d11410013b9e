"""The sections about what is computed and how it is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from maxact.figures.registry import FIGURES
from maxact.quantize.formats import POLICIES, is_policy
from maxact.sites.components import COMPONENTS
from maxact.study.chosen import formats_once, once
from maxact.study.mistakes import meant
from maxact.study.sections import Positive, Section


class Measure(Section):
    """How every checkpoint is passed through, and what is looked at."""

    dtype: Literal["bfloat16", "float16"]
    attention: Literal["sdpa", "eager"]
    device: Literal["cpu", "cuda"] = "cpu"
    """Where models run. `cuda` is part of the recipe; the model of the GPU is in the journal."""
    threads: Positive
    """Of a job that runs a model on CPU. They are part of the recipe, as the last bits of a product of matrices can depend
    on how many share it; so they are the same whatever `--cores` says. On a GPU they decide nothing."""
    batch_tokens: Positive | None = None
    """Tokens of a forward pass, fill included: a pass has as many samples as fit. Without it a pass has one sample, whose last
    bits then depend on no other."""
    components: Annotated[list[str], Field(min_length=1)]
    """Given in any order, or as `all`."""

    def running(self) -> dict[str, Any]:
        """What decides how a model runs; a study on CPU says nothing of devices."""
        return self.model_dump(exclude={"components", "batch_tokens", "device" if self.device == "cpu" else "threads"})

    def watching(self) -> dict[str, Any]:
        """What decides what is seen while it runs."""
        return self.model_dump(include={"components", "batch_tokens"}, exclude_none=True)

    @field_validator("components", mode="before")
    @classmethod
    def every_component(cls, given: Any) -> Any:
        return list(COMPONENTS) if given == "all" else given

    @field_validator("components")
    @classmethod
    def known_components(cls, given: list[str]) -> list[str]:
        for component in given:
            if component not in COMPONENTS:
                raise ValueError(f"unknown component {component!r}; known: all, or {', '.join(COMPONENTS)}")
        # The order decides nothing, and a recipe must not depend on it.
        return [component for component in COMPONENTS if component in once(given, "a component")]


class Quantize(Section):
    """What follows from stored histograms, with no further pass."""

    formats: Annotated[list[str], Field(min_length=1)]
    """Of whole tensors, from stored histograms (`maxact/quantize/formats.py`)."""
    policies: Annotated[list[str], Field(min_length=1)]
    """`max`, `mse`, `entropy`, or `quantile_0.999`: the clipping threshold is that quantile of |x| on the calibration
    split (`maxact/quantize/policies.py`)."""
    sqnr_targets: list[Annotated[float, Field(gt=0, le=100)]] = []
    """In dB: the bits that every site needs for each are computed (`maxact/quantize/widths.py`)."""

    @field_validator("formats")
    @classmethod
    def known_formats(cls, given: list[str]) -> list[str]:
        return formats_once(
            given, lambda format: None if format.block is None else "shares scales in blocks, which no histogram tells"
        )

    @field_validator("policies")
    @classmethod
    def known_policies(cls, given: list[str]) -> list[str]:
        for name in given:
            if not is_policy(name):
                raise ValueError(
                    f"unknown policy {name!r}; known: {', '.join(POLICIES)}, quantile_0.<digits, the last not 0>"
                )
        return once(given, "a policy")

    @field_validator("sqnr_targets")
    @classmethod
    def rising_targets(cls, given: list[float]) -> list[float]:
        return sorted(once(given, "a target"))


class FigureStyle(Section):
    """How one figure is drawn; what is not given is as for all figures."""

    width_inches: Annotated[float, Field(gt=1, lt=30)] | None = None
    font_size: Annotated[float, Field(gt=3, lt=30)] | None = None
    dots_per_inch: Annotated[int, Field(ge=50, le=600)] | None = None


class Figures(Section):
    """How figures are drawn, all of them and, in `overrides`, one by its name."""

    width_inches: Annotated[float, Field(gt=1, lt=30)]
    font_size: Annotated[float, Field(gt=3, lt=30)]
    dots_per_inch: Annotated[int, Field(ge=50, le=600)]
    overrides: dict[str, FigureStyle] = {}

    def style(self, figure: str) -> dict[str, float]:
        """The style of one figure."""
        own = self.overrides.get(figure, FigureStyle()).model_dump(exclude_none=True)
        return {**self.model_dump(exclude={"overrides"}), **own}

    @model_validator(mode="after")
    def known_figures(self) -> Figures:
        for figure in self.overrides:
            if figure not in FIGURES:
                raise ValueError(
                    f"overrides.{figure}: no such figure{meant(figure, FIGURES)}; known: {', '.join(FIGURES)}"
                )
        return self
