"""The recipe `sampled_dataset`: documents of a data set chosen in given proportions of domains and lengths.

Documents are read once, in an order that follows from the seed. Each is of the first domain whose rule it meets, and serves
the longest sample that this domain still lacks and that it can be cut to. When all samples are found, or when as many
documents are read as the study allows, reading stops; what a domain lacks then is filled from another, and said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from maxact.corpus.choosing import STARTS, TextSample, cut, largest_remainder, length_of_each
from maxact.corpus.rows import column, named, rows, text_of
from maxact.corpus.scripts import meets, script_of
from maxact.errors import UserError


@dataclass(frozen=True)
class Document:
    """One document: its number in the order of reading, its text, its subset if the data set names one, its script."""

    number: int
    text: str
    subset: str | None
    script: str


@dataclass
class _Wanted:
    """What a domain still lacks: length -> places among its samples; and what it has found, by place."""

    lacking: dict[int, list[int]]
    found: dict[int, tuple[Document, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.lacking.values()))


def samples_of(asked: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[list[TextSample], dict[str, int]]:
    """The samples, domain after domain, and how many of which domain had to be filled from `fill`.

    Raises:
        UserError: the data set cannot be read, or `fill` has too few documents.
    """
    return choose(asked, _documents(asked), tokenizer)


def _documents(asked: Mapping[str, Any]) -> Iterator[Document]:
    name, _ = named(asked["source"])
    columns = asked["columns"]
    for number, row in enumerate(rows(asked["source"], columns, asked["seed"], asked["shuffle_buffer"])):
        if number == asked["documents"]:
            return
        text = text_of(row, columns["text"], name)
        subset = str(column(row, columns["subset"], name)) if columns["subset"] else None
        yield Document(number, text, subset, script_of(text))


def choose(
    asked: Mapping[str, Any], documents: Iterable[Document], tokenizer: Tokenizer
) -> tuple[list[TextSample], dict[str, int]]:
    """As `samples_of`, from documents in the order given."""
    lengths = {int(length): weight for length, weight in asked["lengths"].items()}  # JSON keys are strings
    shares = largest_remainder(asked["samples"], asked["proportions"])
    each = length_of_each(asked["samples"], asked["seed"], lengths)
    wanted: dict[str, _Wanted] = {}
    for domain, count in shares.items():
        mine, each = each[:count], each[count:]
        lacking: dict[int, list[int]] = defaultdict(list)
        for place, length in enumerate(mine):
            lacking[length].append(place)
        wanted[domain] = _Wanted(dict(lacking))
    reserve: list[Document] = []
    texts: set[str] = set()
    for document in documents:
        belongs = domain_of(document, asked["domains"])
        if belongs is not None and belongs in wanted:
            served = _serve(document, wanted[belongs], texts, tokenizer)
            room = len(reserve) < sum(each.count for each in wanted.values())
            if not served and belongs == asked["fill"] and room and cut(document.text, max(lengths), tokenizer):
                kept = document.text[: 16 * (max(lengths) + STARTS)]
                reserve.append(Document(document.number, kept, document.subset, document.script))
        if all(each.count == 0 for each in wanted.values()):
            break
    return _filled(asked, wanted, reserve, texts, tokenizer)


def domain_of(document: Document, rules: Sequence[Mapping[str, Any]]) -> str | None:
    """The first domain whose rule a document meets."""
    for rule in rules:
        if (not rule["subsets"] or document.subset in rule["subsets"]) and meets(document.script, rule["scripts"]):
            return str(rule["name"])
    return None


def _serve(document: Document, wanted: _Wanted, texts: set[str], tokenizer: Tokenizer) -> bool:
    """Give the document to the longest sample that is lacking and that it can be cut to."""
    size = len(document.text.encode("utf-8", errors="replace"))
    for length in sorted(wanted.lacking, reverse=True):
        if wanted.lacking[length] and size >= length:  # a token has at least one byte
            text = cut(document.text, length, tokenizer)
            if text is not None and text not in texts:
                wanted.found[wanted.lacking[length].pop(0)] = (document, text)
                texts.add(text)
                return True
    return False


def _filled(
    asked: Mapping[str, Any],
    wanted: Mapping[str, _Wanted],
    reserve: list[Document],
    texts: set[str],
    tokenizer: Tokenizer,
) -> tuple[list[TextSample], dict[str, int]]:
    shortfall = {domain: each.count for domain, each in wanted.items() if each.count}
    fill, waiting = asked["fill"], iter(reserve)
    filled: dict[str, set[int]] = defaultdict(set)
    for domain in shortfall:
        before = set(wanted[domain].found)
        while wanted[domain].count:
            document = next(waiting, None)
            if document is None:
                raise UserError(
                    f"corpus: {wanted[domain].count} samples of {domain} lack after {asked['documents']} documents, and {fill} "
                    "has none left to fill them; allow more documents or ask for fewer samples"
                )
            _serve(document, wanted[domain], texts, tokenizer)
        filled[domain] = set(wanted[domain].found) - before
    name, licence = named(asked["source"])
    languages = {rule["name"]: rule["language"] for rule in asked["domains"]}
    samples = []
    numbers: dict[str, int] = defaultdict(int)
    for domain, each in wanted.items():
        for place in sorted(each.found):
            document, text = each.found[place]
            own = fill if place in filled[domain] else domain
            samples.append(
                TextSample(
                    id=f"{own}-{numbers[own]:04d}",
                    domain=own,
                    language=languages[own],
                    script=document.script,
                    source=f"{name} document {document.number}",
                    licence=licence,
                    length_bucket=len(tokenizer.encode(text, add_special_tokens=False).ids),
                    text=text,
                )
            )
            numbers[own] += 1
    shortfall.pop(fill, None)
    return samples, shortfall
