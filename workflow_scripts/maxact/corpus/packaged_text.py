"""The recipe `packaged_text`: real text out of pinned wheels, in given proportions of domains and lengths.

A sample is a stretch of one passage that has exactly its bucket's number of tokens, and has it again when it is tokenized
alone. All choices follow from the seed through SHA-256, so that the corpus has the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from maxact.corpus.passages import READERS, Passage
from maxact.errors import UserError
from maxact.wheels import licence_of, open_wheel

if TYPE_CHECKING:
    from maxact.study import Wheel

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


@dataclass(frozen=True)
class _Sourced:
    passage: Passage
    source: str
    licence: str


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


def build(
    samples: int,
    seed: int,
    proportions: Mapping[str, int],
    lengths: Mapping[int, int],
    wheels: Sequence[Wheel],
    tokenizer: Tokenizer,
) -> list[TextSample]:
    """The samples, domain after domain.

    Raises:
        UserError: a domain is unknown, or has too little text in the wheels given.
    """
    wanted = largest_remainder(samples, proportions)
    buckets = _buckets(samples, seed, lengths)
    passages = _read(wanted, wheels)
    built: list[TextSample] = []
    for domain, count in wanted.items():
        mine, buckets = buckets[:count], buckets[count:]
        built += _choose(domain, mine, _spread(passages[domain], seed, domain), tokenizer)
    return built


def _rank(*parts: object) -> str:
    return hashlib.sha256("\x00".join(map(str, parts)).encode()).hexdigest()


def _buckets(samples: int, seed: int, lengths: Mapping[int, int]) -> list[int]:
    """A length for every sample, in an order that the seed decides."""
    shares = largest_remainder(samples, {str(length): weight for length, weight in sorted(lengths.items())})
    listed = [int(length) for length, count in shares.items() for _ in range(count)]
    return [
        length for _, length in sorted((_rank(seed, "length", number), length) for number, length in enumerate(listed))
    ]


def _read(domains: Mapping[str, int], wheels: Sequence[Wheel]) -> dict[str, list[_Sourced]]:
    read: dict[str, list[_Sourced]] = defaultdict(list)
    for domain in domains:
        if domain not in READERS:
            raise UserError(f"corpus.proportions: unknown domain {domain!r}; known: {', '.join(READERS)}")
        for wheel in wheels:
            reader = READERS[domain].get(wheel.package)
            if reader is not None:
                licence = licence_of(wheel)
                with open_wheel(wheel) as archive:
                    for passage in reader(archive):
                        source = f"{wheel.package} {wheel.version} {passage.member}"
                        read[domain].append(_Sourced(passage, source, licence))
    return read


def _spread(passages: list[_Sourced], seed: int, domain: str) -> list[_Sourced]:
    """The first of every group, then the second of every group, and so on; the seed decides the order within."""
    ordered = sorted(passages, key=lambda item: _rank(seed, domain, item.source))
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for item in ordered:
        turns.append(seen[item.passage.group])
        seen[item.passage.group] += 1
    return [item for _, item in sorted(zip(turns, ordered, strict=True), key=lambda pair: pair[0])]


def _choose(domain: str, buckets: list[int], passages: list[_Sourced], tokenizer: Tokenizer) -> list[TextSample]:
    """A passage for each bucket, long ones first; a passage too short for one may serve a shorter one."""
    found: dict[int, tuple[_Sourced, str]] = {}
    waiting = passages
    texts: set[str] = set()
    for length in sorted(set(buckets), reverse=True):
        numbers = [number for number, bucket in enumerate(buckets) if bucket == length]
        left = []
        for item in waiting:
            text = cut(item.passage.text, length, tokenizer) if numbers else None
            if text is None or text in texts:
                left.append(item)
                continue
            found[numbers.pop(0)] = (item, text)
            texts.add(text)
        waiting = left
        if numbers:
            raise UserError(
                f"corpus: domain {domain!r} lacks {len(numbers)} of its {buckets.count(length)} samples of {length} tokens "
                "(no other text in its wheels is long enough); ask for fewer samples or name more wheels"
            )
    return [_sample(domain, number, buckets[number], *found[number]) for number in range(len(buckets))]


def _sample(domain: str, number: int, bucket: int, item: _Sourced, text: str) -> TextSample:
    passage = item.passage
    name = f"{domain}-{number:04d}"
    return TextSample(name, domain, passage.language, passage.script, item.source, item.licence, bucket, text)


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
