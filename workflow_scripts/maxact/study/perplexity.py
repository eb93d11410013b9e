"""The section about perplexity: which sites of which checkpoints are quantized in the pass, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from maxact.quantize.formats import FORMATS, NO_POLICY, POLICIES, is_policy, known_formats
from maxact.quantize.tensors import KINDS, NORMED
from maxact.quantize.ways import why_not_dynamic
from maxact.sites.components import COMPONENTS
from maxact.study.chosen import check_checkpoints
from maxact.study.mistakes import meant
from maxact.study.sections import Name, Positive, Section

if TYPE_CHECKING:
    from maxact.study import Study

DYNAMIC = ("sample", "token", "group_16", "group_32", "group_128")
"""Granularities whose scales follow from the tensor itself."""

Tensors = Annotated[list[str], Field(min_length=1)]


def _known(given: list[str]) -> list[str]:
    for name in given:
        if name not in KINDS and name not in COMPONENTS:
            known = (*KINDS, *COMPONENTS)
            raise ValueError(f"unknown tensor {name!r}{meant(name, known)}; known: {', '.join(known)}")
    return given


class Quantizer(Section):
    """A number format with what decides its scales."""

    format: str
    granularity: str | None = None
    """What shares a scale: `tensor` (static, the default) or one of `DYNAMIC`; not given for a cast or a format with blocks."""
    policy: str | None = None
    """How the threshold of a scale is chosen; of a dynamic one `max` (the default), `mse` or a quantile, of what shares it."""
    smooth: Annotated[float, Field(ge=0, le=1)] | None = None
    """alpha of SmoothQuant: what a norm gives to linear layers is divided by its scales before it is quantized."""
    tensors: Tensors | None = None
    """In the place of the section's."""

    @field_validator("tensors")
    @classmethod
    def known_tensors(cls, given: list[str] | None) -> list[str] | None:
        return given if given is None else _known(given)

    @model_validator(mode="after")
    def that_there_is(self) -> Quantizer:
        if self.format not in FORMATS:
            raise ValueError(f"unknown format {self.format!r}{meant(self.format, FORMATS)}; known: {known_formats()}")
        format = FORMATS[self.format]
        given = next((key for key in ("granularity", "policy") if getattr(self, key) is not None), None)
        if given and format.scaling == "none":
            raise ValueError(f"{self.format} is a cast, which has no scale: remove {given}")
        if self.granularity is not None and format.block is not None:
            raise ValueError(f"{self.format} has blocks of its own, whose scales follow from them: remove granularity")
        if self.granularity not in (None, "tensor", *DYNAMIC):
            raise ValueError(f"unknown granularity {self.granularity!r}; known: tensor, {', '.join(DYNAMIC)}")
        if self.static and self.policy is None:
            raise ValueError(f"{self.format} by tensor has a static scale: give policy, or a granularity such as token")
        if self.policy is not None and not is_policy(self.policy):
            raise ValueError(
                f"unknown policy {self.policy!r}; known: {', '.join(POLICIES)}, quantile_0.<digits, the last not 0>"
            )
        if self.policy is not None and not self.static and (why := why_not_dynamic(self.policy)):
            raise ValueError(f"{self.format} by {self.granularity or 'block'} has dynamic scales: {why}")
        if self.smooth is not None and format.scaling == "none":
            raise ValueError(f"{self.format} is a cast, which has no scale: remove smooth")
        if self.smooth is not None and self.static and (self.policy != "max" or format.asymmetric):
            wanted = "a symmetric format" if format.asymmetric else "policy max"
            raise ValueError(
                f"smooth knows the largest |x| of what it has divided, no more: give {wanted} or a granularity"
            )
        return self

    @property
    def static(self) -> bool:
        """Whether one scale of a whole tensor comes from the calibration split."""
        format = FORMATS[self.format]
        return format.scaling == "free" and self.granularity not in DYNAMIC

    @property
    def calibrated(self) -> bool:
        """Whether anything of it comes from the measurement: `nvfp4` has a scale of the tensor over those of blocks."""
        return self.static or self.smooth is not None or FORMATS[self.format].scaling == "two_level"


class Perplexity(Section):
    """What quantizing activations costs real checkpoints, on the evaluation split."""

    checkpoints: Annotated[list[Name], Field(min_length=1)] | None = None
    """Without it every real one."""
    tensors: Tensors = ["linear_inputs"]
    """Which are quantized, all at once: kinds (`linear_inputs`, `kv_cache`) or components."""
    quantizers: Annotated[list[Quantizer], Field(min_length=1)]
    samples: Positive | None = None
    """Of the evaluation split, each domain its share; without it all."""

    @field_validator("tensors")
    @classmethod
    def known_tensors(cls, given: list[str]) -> list[str]:
        return _known(given)

    @model_validator(mode="after")
    def each_once(self) -> Perplexity:
        asked = self.asked()
        for index, quantizer in enumerate(asked):
            if quantizer in asked[:index]:
                raise ValueError(f"quantizers[{index}]: {quantizer['format']} is named twice with the same tensors")
        return self

    def asked(self) -> list[dict[str, Any]]:
        """The quantizers with all that decides them, as recipes and tables name them."""
        found = []
        for quantizer in self.quantizers:
            tensors = quantizer.tensors or self.tensors
            named = {component for name in tensors for component in KINDS.get(name, (name,))}
            format = FORMATS[quantizer.format]
            found.append(
                {
                    "format": quantizer.format,
                    "granularity": "block" if format.block else quantizer.granularity or "tensor",
                    # A dynamic scale is for the largest |x| if nothing else is asked.
                    "policy": quantizer.policy or (NO_POLICY if format.scaling == "none" else "max"),
                    **({} if quantizer.smooth is None else {"smooth": quantizer.smooth}),
                    "tensors": list(tensors),
                    # The order decides nothing, and a recipe must not depend on it.
                    "components": [component for component in COMPONENTS if component in named],
                }
            )
        return found


def perplexed(study: Study) -> list[str]:
    """The checkpoints that the study asks it of."""
    if study.perplexity is None:
        return []
    real = [checkpoint.name for checkpoint in study.checkpoints if not checkpoint.planted]
    return real if study.perplexity.checkpoints is None else study.perplexity.checkpoints


def check_perplexity(study: Study) -> None:
    """Compare the section with the others.

    Raises:
        ValueError: what does not hold.
    """
    section = study.perplexity
    if section is None:
        return
    check_checkpoints("perplexity", section.checkpoints or [], study, real=True)
    if section.samples is not None and section.samples > study.tokens.splits.evaluation:
        held = f"tokens.splits.evaluation ({study.tokens.splits.evaluation})"
        raise ValueError(f"perplexity.samples: {section.samples} is above {held}")
    for index, (quantizer, asked) in enumerate(zip(section.quantizers, section.asked(), strict=True)):
        if quantizer.smooth is not None and not set(NORMED) & set(asked["components"]):
            raise ValueError(
                f"perplexity.quantizers[{index}]: smooth divides {' and '.join(NORMED)}, and the tensors have neither; add one, "
                "or remove smooth"
            )
        lacking = [name for name in asked["components"] if name not in study.measure.components]
        # Inside routed experts nothing can be replaced, with the reason in the table.
        lacking = [name for name in lacking if name != "expert_down_input"]
        if quantizer.calibrated and lacking:
            raise ValueError(
                f"perplexity.quantizers[{index}]: {quantizer.format} takes a scale from the measurement, and "
                f"measure.components lacks {', '.join(lacking)}; add it"
            )
