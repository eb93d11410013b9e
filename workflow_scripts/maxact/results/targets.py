"""Figures and tables that a user asks Snakemake for: one that no rule makes is told in a line, before Snakemake says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from maxact.errors import UserError
from maxact.results.registry import PAGES, SUFFIXES
from maxact.study.mistakes import meant

KINDS = {"figures": ("pdf", "png"), "tables": SUFFIXES}
"""Folders of a study's reports, and the suffixes of what lies in them."""


def refuse_unknown_targets(
    targets: Iterable[str], study: str, made: Mapping[str, Collection[str]], named: Mapping[str, Collection[str]]
) -> None:
    """Stop where a target is plainly meant as a figure or table, and is none of this study; others are left to Snakemake.

    Args:
        targets: of the command line, without the names of rules.
        study: the name of the study that is run.
        made: by kind (`KINDS`), the names of what the study makes.
        named: likewise of what any study can make.

    Raises:
        UserError: says which name was meant, and where all names are.
    """
    for target in targets:
        for kind in (kind for kind, names in named.items() if target in names):
            file = f"reports/{study}/{kind}/{target}.{KINDS[kind][0]}"
            raise UserError(f"{target}: no target; " + (f"say {file}" if target in made[kind] else _not_made(study)))
        parts = PurePosixPath(target).parts
        if len(parts) != 4 or parts[0] != "reports" or parts[2] not in KINDS:
            continue
        kind, (name, _, suffix) = parts[2], parts[3].rpartition(".")
        if parts[1] != study:
            raise UserError(f"{target}: of the study {parts[1]}, and this is {study}; say --configfile with its file")
        if suffix not in KINDS[kind]:
            raise UserError(f"{target}: no target; {kind} are made as {', '.join(KINDS[kind])}")
        if name in named[kind] and name not in made[kind]:
            raise UserError(f"{target}: no target; {_not_made(study)}")
        if name in PAGES:
            raise UserError(f"{target}: no target; say reports/{study}/{parts[3]}")
        if name not in named[kind]:
            hint = meant(name, made[kind]) or f"; {kind} of this study are {', '.join(made[kind])}"
            raise UserError(f"{target}: no target{hint} (docs/reproduce.md has all names)")


def _not_made(study: str) -> str:
    return f"the study {study} has not what it is made from, or no comparison of that question"
