"""The sections about text: corpus, tokens, loading check, trained tokenizers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from maxact.study.sections import Name, NotNegative, Positive, Section, Wheel


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
