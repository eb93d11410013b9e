"""Figures and tables that a user asks Snakemake for: one that no rule makes is told in a line, before Snakemake says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from maxact.errors import UserError
from maxact.results.registry import SUFFIXES
from maxact.study.mistakes import meant

KINDS = {"figures": ("pdf", "png"), "tables": SUFFIXES}
"""Folders of a study's reports, and the suffixes of what lies in them."""


def refuse_unknown_targets(
    words: Sequence[str], study: str, made: Mapping[str, Collection[str]], named: Mapping[str, Collection[str]]
) -> None:
    """Stop where a word of the command line is plainly meant as a figure or table, and is none of this study.

    Whatever else it holds (options, their values, rules, other files) is left to Snakemake.

    Args:
        words: of the command line, without the program and the names of rules.
        study: the name of the study that is run.
        made: by kind (`KINDS`), the names of what the study makes.
        named: likewise of what any study can make.

    Raises:
        UserError: says which name was meant, and where all names are.
    """
    for before, word in zip(["", *words], words, strict=False):
        parts = PurePosixPath(word).parts
        for kind in (kind for kind, names in named.items() if word in names):
            file = f"reports/{study}/{kind}/{word}.{KINDS[kind][0]}"
            if before == "--" or not before.startswith("-"):
                raise UserError(f"{word}: no target; " + (f"say {file}" if word in made[kind] else _not_made(study)))
        if len(parts) != 4 or parts[0] != "reports" or parts[2] not in KINDS or before == "--report":
            continue
        kind, (name, _, suffix) = parts[2], parts[3].rpartition(".")
        if parts[1] != study:
            raise UserError(f"{word}: of the study {parts[1]}, and this is {study}; say --configfile with its file")
        if suffix not in KINDS[kind]:
            raise UserError(f"{word}: no target; {kind} are made as {', '.join(KINDS[kind])}")
        if name in named[kind] and name not in made[kind]:
            raise UserError(f"{word}: no target; {_not_made(study)}")
        if name not in named[kind]:
            hint = meant(name, made[kind]) or f"; {kind} of this study are {', '.join(made[kind])}"
            raise UserError(f"{word}: no target{hint} (docs/reproduce.md has all names)")


def _not_made(study: str) -> str:
    return f"the study {study} has not what it is made from, or no comparison of that question"
