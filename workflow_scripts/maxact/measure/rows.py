"""What the rows of a tensor stand for: tokens of one sample, each of a class, or tokens in their experts."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maxact.measurement import TOKEN_CLASSES

Integers = npt.NDArray[np.int64]

FIRST, BOS, DELIMITER, OTHER = range(len(TOKEN_CLASSES))

NO_EXPERT = -1
"""In place of an expert, where rows are tokens."""


@dataclass(frozen=True)
class Rows:
    """The rows of one sample at a site, in order of position and expert.

    Attributes:
        sample: its number in the corpus.
        split: where its counts go.
        position_R: which token of the sample each row is of.
        token_R: that token's id.
        class_R: its class, an index of `TOKEN_CLASSES`.
        expert_R: the expert that the row went through; None where rows are tokens.
    """

    sample: int
    split: str
    position_R: Integers
    token_R: Integers
    class_R: Integers
    expert_R: Integers | None = None

    def place(self, row: int) -> tuple[int, int, int]:
        """Sample, position and expert of a row."""
        expert = NO_EXPERT if self.expert_R is None else int(self.expert_R[row])
        return self.sample, int(self.position_R[row]), expert

    def routed(self, token_R: Integers, expert_R: Integers) -> Rows:
        """The rows inside experts: which of these rows each is of, and its expert."""
        position_R, ids_R, class_R = (values[token_R] for values in (self.position_R, self.token_R, self.class_R))
        return Rows(self.sample, self.split, position_R, ids_R, class_R, expert_R)


class TokenClasses:
    """The class of every token of a sample.

    In this order: `bos`, a token whose id is one of `bos`; `first`, at position 0; `delimiter`, a line break or nothing but
    punctuation (Unicode categories P); `other`. Massive activations sit on the first three: Sun et al. 2024, "Massive
    Activations in Large Language Models", section 2.2.

    Args:
        vocabulary: text by token id; without it, delimiters are counted with the others.
        bos: ids of the tokens that begin a text.
    """

    def __init__(self, vocabulary: Mapping[int, str] | None, bos: Collection[int] = ()) -> None:
        self._delimiters = {token for token, text in (vocabulary or {}).items() if text and is_delimiter(text)}
        self._bos = set(bos)

    def __call__(self, token_ids: Sequence[int]) -> Integers:
        """Indices of `TOKEN_CLASSES`, int64 [tokens]."""
        classes = np.full(len(token_ids), OTHER, np.int64)
        for position, token in enumerate(token_ids):
            if token in self._bos:
                classes[position] = BOS
            elif position == 0:
                classes[position] = FIRST
            elif token in self._delimiters:
                classes[position] = DELIMITER
        return classes


def is_delimiter(text: str) -> bool:
    """Whether a token's text is a line break or punctuation, with or without spaces around it."""
    stripped = text.strip()
    if not stripped:
        return "\n" in text
    return all(unicodedata.category(character).startswith("P") for character in stripped)
