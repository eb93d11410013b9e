"""What stands where an activation is: the token, and the text around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maxact.tokenizers.opened import open_tokenizer

AROUND = 12
"""Tokens of context on each side."""

PART = "\ufffd"
"""What a tokenizer decodes part of a character to."""

BYTES = 4
"""Of a character, at most."""


@dataclass(frozen=True)
class Witness:
    """A token of a corpus.

    Attributes:
        sample: its number in the corpus.
        id, domain, language, script: of that sample.
        position: of the token, from 0.
        before, token, after: text, with line breaks as spaces; what is cut has an ellipsis. Where the token is only part of a
            character, its text is that of the tokens that make up the character.
    """

    sample: int
    id: str
    domain: str
    language: str
    script: str
    position: int
    before: str
    token: str
    after: str

    @property
    def text(self) -> str:
        """The token in brackets, in its context."""
        return f"{self.before}[{self.token}]{self.after}"


class Witnesses:
    """Finds the text at places in a corpus.

    Args:
        tokens: a `tokens.parquet`.
        tokenizer: the `tokenizer.json` that made it.
    """

    def __init__(self, tokens: Path, tokenizer: Path) -> None:
        self._rows = pd.read_parquet(tokens).set_index("sample")
        self._tokenizer = open_tokenizer(tokenizer)

    def at(self, sample: int, position: int) -> Witness:
        """The token at that place."""
        row = self._rows.loc[sample]
        ids = [int(token) for token in row["token_ids"]]
        first, last = self._characters(ids, position)
        start, end = max(0, first - AROUND), last + 1 + AROUND
        return Witness(
            sample=sample,
            position=position,
            before=("…" if start else "") + self._text(ids[start:first]).lstrip(PART),
            token=self._text(ids[first : last + 1]),
            after=self._text(ids[last + 1 : end]).rstrip(PART) + ("…" if end < len(ids) else ""),
            **{name: str(row[name]) for name in ("id", "domain", "language", "script")},
        )

    def _characters(self, ids: list[int], position: int) -> tuple[int, int]:
        """The first and last of the fewest tokens around a position that make up whole characters; itself if none do."""
        for width in range(1, 2 * BYTES):
            for first in range(max(0, position - width + 1), position + 1):
                if first + width <= len(ids) and PART not in self._text(ids[first : first + width]):
                    return first, first + width - 1
        return position, position

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return "".join(" " if character in "\r\n\t" else character for character in text)
