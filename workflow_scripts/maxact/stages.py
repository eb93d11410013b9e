"""The stages: what computes each, which objects of the stages above it may read, which packages decide its bytes.

No stage is imported here: a hit in the store needs its name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from maxact.figures.registry import FIGURES
from maxact.store.job import Uses


@dataclass(frozen=True)
class Stage:
    """One step of the study.

    Attributes:
        module: has `compute(job: Job) -> Product`; imported after a cache miss only.
        uses: glob patterns of the object names that it may read, by input; "summary" stands for the summary.
        packages: distributions whose locked versions are part of the recipe.
        opens_sources: it reads what is in no store: a hub, wheels, folders.
        archived: whether an archive has what it has made: "always", since people look at it, or with "measurements".
        parts: the input in which other jobs have done parts of this very computation. They decide nothing: with any of them or
            none it makes the same.
        joins: has `join(job: Job)`, which lays parts where the stage looks for what an interrupted process has left.
    """

    module: str
    uses: Uses
    packages: tuple[str, ...] = ()
    opens_sources: bool = False
    archived: Literal["always", "measurements", "never"] = "never"
    parts: str | None = None
    joins: str | None = None


OWN_CODE = "maxact.checkpoints.own_code"
"""Runs a stage on a checkpoint that brings code of its own, after that code was compared with its digest."""

_WEIGHTS = ("config.json", "*.safetensors", "*.safetensors.index.json", "*.py")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# The loading check must have passed, but what it found does not decide the measurement.
_MEASURED = {"tokens": ("tokens.parquet", "vocabulary.parquet"), "checkpoint": _WEIGHTS, "loading_check": ()}

STAGES: dict[str, Stage] = {
    "checkpoint": Stage("maxact.checkpoints.stage", {"tokenizer": _TOKENIZER}, opens_sources=True),
    "corpus": Stage("maxact.corpus.stage", {"tokenizer": _TOKENIZER}, ("tokenizers",), opens_sources=True),
    "tokenizer": Stage("maxact.tokenizers.stage", {"corpus": ("samples.parquet",)}, opens_sources=True),
    "tokens": Stage(
        "maxact.tokens",
        {"corpus": ("samples.parquet",), "tokenizer": _TOKENIZER},
        ("tokenizers",),
        archived="measurements",
    ),
    "loading_check": Stage(
        "maxact.loading_check",
        {"tokens": ("tokens.parquet",), "checkpoint": _WEIGHTS},
        ("torch", "transformers"),
        archived="measurements",
    ),
    "measure": Stage(
        "maxact.measure.stage",
        {**_MEASURED, "shard": ("part.npz",)},
        ("torch", "transformers"),
        archived="measurements",
        parts="shard",
        joins="maxact.measure.join",
    ),
    "shard": Stage("maxact.measure.shard", _MEASURED, ("torch", "transformers")),
    # No rule's: `maxact adopt` runs it.
    "probe": Stage("maxact.measure.probe", _MEASURED, ("torch", "transformers")),
    # No rule's: `maxact replay` runs it.
    "replay": Stage("maxact.measure.replay", _MEASURED, ("torch", "transformers")),
    "variant": Stage(
        "maxact.sensitivity.variant",
        {"corpus": ("samples.parquet",), "tokenizer": _TOKENIZER, "checkpoint": _WEIGHTS, "loading_check": ()},
        ("tokenizers", "torch", "transformers"),
        archived="measurements",
    ),
    "sensitivity": Stage(
        "maxact.sensitivity.stage",
        {"variant": ("summary",), "checkpoint": ("summary",)},
        ("matplotlib",),
        archived="always",
    ),
    "perplexity": Stage(
        "maxact.perplexity.stage",
        {
            "tokens": ("tokens.parquet",),
            "checkpoint": _WEIGHTS,
            "measure": ("sites.parquet", "histograms.parquet", "channels.parquet"),
        },
        ("torch", "transformers"),
        archived="measurements",
    ),
    "evaluate": Stage(
        "maxact.quantize.evaluate",
        {**_MEASURED, "measure": ("sites.parquet", "channels.parquet")},
        ("torch", "transformers"),
        archived="measurements",
    ),
    "paper_check": Stage(
        "maxact.measure.first_lines",
        {"tokens": ("tokens.parquet",), "checkpoint": _WEIGHTS, "measure": ("sites.parquet",)},
        ("torch", "transformers"),
        archived="measurements",
    ),
    "quantize": Stage(
        "maxact.quantize.stage", {"measure": ("sites.parquet", "histograms.parquet")}, archived="measurements"
    ),
    "published": Stage("maxact.published.stage", {}, opens_sources=True, archived="measurements"),
    "audit": Stage("maxact.published.audit.stage", {}, opens_sources=True, archived="always"),
    "results": Stage(
        "maxact.results.stage",
        {
            "published": ("*", "summary"),
            "checkpoint": ("summary",),
            "tokens": ("tokens.parquet", "tokenizer.json", "summary"),
            "loading_check": ("perplexity.json",),
            "measure": (
                *(f"{table}.parquet" for table in ("sites", "top", "samples", "classes", "experts")),
                "summary",
            ),
            "quantize": ("errors.parquet", "bits.parquet", "curves.parquet"),
            "perplexity": ("perplexity.parquet", "sites.parquet"),
            "evaluate": ("errors.parquet", "protection.parquet", "smoothing.parquet"),
            "paper_check": ("histograms.parquet", "summary"),
        },
        archived="always",
    ),
    "figures": Stage("maxact.figures.stage", {}, ("matplotlib",), archived="always"),
}


def module_of(stage: str, parameters: Mapping[str, Any]) -> str:
    """What computes a job with these parameters."""
    return OWN_CODE if "remote_code" in parameters else STAGES[stage].module


def is_part(stage: str, source: str) -> bool:
    """Whether an input of a stage holds a part of what it computes, and so decides nothing."""
    return source.partition("/")[0] == STAGES[stage].parts


def uses_of(stage: str, name: str) -> Uses:
    """What a job may read: for a figure, what that figure needs, so that others do not decide it."""
    return {"results": FIGURES[name].reads} if stage == "figures" else STAGES[stage].uses
