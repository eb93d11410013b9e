"""What every recipe of a corpus does: share samples out, give each a length, and cut texts to lengths.

All choices follow from the seed through SHA-256, so that a corpus has the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer

STARTS = 200
"""How many starting tokens of a passage are tried before it is given up for a length."""


@dataclass(frozen=True)
class TextSample:
    """One sample; `source` is package, version and member, `length_bucket` its length in tokens."""

    id: str
    domain: str
    language: str
    script: str
    source: str
    licence: str
    length_bucket: int
    text: str


def largest_remainder(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share `total` out in proportion to `weights`: each gets its whole part, the largest remainders one more.

    Ties of remainders go to the earlier key.
    """
    whole = sum(weights.values())
    shares = {key: total * weight // whole for key, weight in weights.items()}
    order = sorted(weights, key=lambda key: -(total * weights[key] % whole))
    for key in order[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def rank(*parts: object) -> str:
    """A place among others that looks random and follows from `parts` alone: SHA-256 in hexadecimal."""
    return hashlib.sha256("\x00".join(map(str, parts)).encode()).hexdigest()


def length_of_each(samples: int, seed: int, lengths: Mapping[int, int]) -> list[int]:
    """A length for every sample, in an order that the seed decides."""
    shares = largest_remainder(samples, {str(length): weight for length, weight in sorted(lengths.items())})
    listed = [int(length) for length, count in shares.items() for _ in range(count)]
    return [
        length for _, length in sorted((rank(seed, "length", number), length) for number, length in enumerate(listed))
    ]


def cut(text: str, tokens: int, tokenizer: Tokenizer) -> str | None:
    """The earliest stretch of `text` that is exactly `tokens` tokens when tokenized alone; None if there is none.

    A stretch starts where a token starts; a token that is part of a character, or that alone is cut otherwise than in its
    context, makes the count differ, and the next start is tried.
    """
    # Text far behind the last start that is tried cannot matter; a token has few characters.
    encoding = tokenizer.encode(text[: 16 * (tokens + STARTS)], add_special_tokens=False)
    offsets = encoding.offsets
    for start in range(min(STARTS, len(offsets) - tokens + 1)):
        stretch = text[offsets[start][0] : offsets[start + tokens - 1][1]]
        if stretch.strip() and len(tokenizer.encode(stretch, add_special_tokens=False).ids) == tokens:
            return stretch
    return None
