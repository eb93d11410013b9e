"""The recipe `packaged_text`: real text out of pinned wheels, in given proportions of domains and lengths.

A sample is a stretch of one passage that has exactly its bucket's number of tokens, and has it again when it is tokenized
alone. All choices follow from the seed through SHA-256, so that the corpus has the same bytes on any machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from maxact.corpus.choosing import TextSample, cut, largest_remainder, length_of_each, rank
from maxact.corpus.passages import READERS, Passage
from maxact.errors import UserError
from maxact.study import Wheel
from maxact.wheels import licence_of, open_wheel


@dataclass(frozen=True)
class _Sourced:
    passage: Passage
    source: str
    licence: str


def samples_of(asked: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[list[TextSample], dict[str, int]]:
    """The samples of a study's parameters; nothing is made up for, as a domain that lacks text is an error."""
    wheels = [Wheel(**wheel) for wheel in asked["wheels"]]
    lengths = {int(length): weight for length, weight in asked["lengths"].items()}  # JSON keys are strings
    return build(asked["samples"], asked["seed"], asked["proportions"], lengths, wheels, tokenizer), {}


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
    buckets = length_of_each(samples, seed, lengths)
    passages = _read(wanted, wheels)
    built: list[TextSample] = []
    for domain, count in wanted.items():
        mine, buckets = buckets[:count], buckets[count:]
        built += _choose(domain, mine, _spread(passages[domain], seed, domain), tokenizer)
    return built


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
    ordered = sorted(passages, key=lambda item: rank(seed, domain, item.source))
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
