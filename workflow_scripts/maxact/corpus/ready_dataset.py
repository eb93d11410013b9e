"""The recipe `ready_dataset`: samples that others have chosen, such as the authors' own, taken as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from maxact.corpus.choosing import TextSample
from maxact.corpus.rows import column, named, rows, text_of
from maxact.corpus.scripts import script_of
from maxact.errors import UserError


def samples_of(asked: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[list[TextSample], dict[str, int]]:
    """The first rows in their order, a long text cut to its first tokens.

    Raises:
        UserError: the data set cannot be read, has too few rows, an empty text, or other domains than the study says.
    """
    name, licence = named(asked["source"])
    columns, samples = asked["columns"], []
    for number, row in enumerate(islice(rows(asked["source"], columns), asked["samples"])):
        text = text_of(row, columns["text"], name)
        domain = str(column(row, columns["subset"], name)) if columns["subset"] else next(iter(asked["proportions"]))
        if domain not in asked["proportions"]:
            known = ", ".join(asked["proportions"])
            raise UserError(
                f"corpus: {name}, row {number}: domain {domain!r} is not under corpus.proportions ({known})"
            )
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets[: asked["maximum_tokens"]]
        if not offsets:
            raise UserError(f"corpus: {name}, row {number}: the text is empty; remove the row")
        text = text[: offsets[-1][1]]
        samples.append(
            TextSample(
                id=f"{domain}-{number:04d}",
                domain=domain,
                language=asked["language"],
                script=script_of(text),
                source=f"{name} row {number}",
                licence=licence,
                length_bucket=len(offsets),
                text=text,
            )
        )
    if len(samples) < asked["samples"]:
        raise UserError(f"corpus: {name} has {len(samples)} rows, corpus.samples is {asked['samples']}; ask for fewer")
    found = Counter(sample.domain for sample in samples)
    if columns["subset"] and dict(found) != {domain: count for domain, count in asked["proportions"].items() if count}:
        told = ", ".join(f"{domain} {count}" for domain, count in sorted(found.items()))
        raise UserError(f"corpus: {name}: its samples are of {told}; write this under corpus.proportions")
    return samples, {}
