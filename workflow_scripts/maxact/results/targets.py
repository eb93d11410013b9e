"""Figures and tables that a user asks Snakemake for: one that no rule makes is told in a line, before Snakemake says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from maxact.errors import UserError
from maxact.results.registry import PAGES, SUFFIXES
from maxact.study.mistakes import meant

KINDS = {"figures": ("pdf", "png"), "tables": SUFFIXES}
"""Folders of a study's reports, and the suffixes of what lies in them."""


_OF_ONE_VALUE = (
    "--cores",
    "-c",
    "--jobs",
    "-j",
    "--profile",
    "--workflow-profile",
    "--directory",
    "-d",
    "--snakefile",
    "-s",
)
_FLAGS = (
    "-n",
    "--dry-run",
    "--dryrun",
    "-p",
    "--printshellcmds",
    "-k",
    "--keep-going",
    "-f",
    "--force",
    "-F",
    "--forceall",
)
"""Options of Snakemake after which a target may stand; others take any number of words."""


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
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        parts = PurePosixPath(word).parts
        for kind in (kind for kind, names in named.items() if word in names):
            file = f"reports/{study}/{kind}/{word}.{KINDS[kind][0]}"
            if _is_target(words[:number]):
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
        if name in PAGES:
            raise UserError(f"{word}: no target; say reports/{study}/{parts[3]}")
        if name not in named[kind]:
            hint = meant(name, made[kind]) or f"; {kind} of this study are {', '.join(made[kind])}"
            raise UserError(f"{word}: no target{hint} (docs/reproduce.md has all names)")


def _is_target(before: Sequence[str]) -> bool:
    """Whether the next word is a target by what stands before it, as far as that is plain."""
    at = next((number for number in reversed(range(len(before))) if before[number].startswith("-")), None)
    if at is None or before[at] == "--" or before[at] in _FLAGS:
        return True
    return before[at] in _OF_ONE_VALUE and at < len(before) - 1


def _not_made(study: str) -> str:
    return f"the study {study} has not what it is made from, or no comparison of that question"
