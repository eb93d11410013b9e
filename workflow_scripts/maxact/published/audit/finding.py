"""What a check finds, and what several checks ask of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from maxact.published.checks import peak
from maxact.published.names import carries_M, component_and_layer
from maxact.published.records import Published, PublishedCheckpoint

REPOSITORY = "github.com/clx1415926/Max_act_llm"
COMMIT = "d3a0f2e"
"""The authors' code that was read."""


class Severity(StrEnum):
    """What it does to what the paper says: a comparison or count comes out otherwise, a number does, neither does."""

    CONCLUSION = "changes a conclusion"
    NUMBER = "changes a number"
    COSMETIC = "cosmetic"


@dataclass(frozen=True)
class Finding:
    """A fault of a set of result files.

    Attributes:
        name: of the check.
        title: what is the matter, in a few words.
        what: one paragraph: what the rows show and what follows.
        source: what shows it: fields of the files, lines of the authors' code.
        rows: one for each place where it is.
    """

    name: str
    title: str
    severity: Severity
    what: str
    source: str
    rows: pd.DataFrame


def code(file: str, lines: str, commit: str = COMMIT) -> str:
    """A place in the authors' code."""
    return f"{REPOSITORY}, {file}, {lines}, commit {commit}"


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows in their order, with whole numbers as such where some are missing."""
    return pd.DataFrame(list(rows)).convert_dtypes(convert_string=False, convert_floating=False, convert_boolean=False)


def ratio(value: float | None, by: float | None) -> float | None:
    """The quotient; None where one of the two is not known, or the divisor is not above zero."""
    return value / by if value is not None and by is not None and by > 0 else None


def kind_of(site: str) -> str:
    """A site without its layer: `hidden` of `layer_3_hidden`."""
    found = component_and_layer(site)
    return site if found is None or found[1] is None else site.removeprefix(f"layer_{found[1]}_")


def layer_of(site: str) -> int | None:
    """The layer of a site, None where it exists once."""
    found = component_and_layer(site)
    return None if found is None else found[1]


def peaks_of_M(checkpoint: PublishedCheckpoint) -> dict[str, float]:
    """The largest |x| of each site that M ranges over, in order of the file."""
    found = {site: peak(values) for site, values in checkpoint.sites.items() if carries_M(site)}
    return {site: value for site, value in found.items() if value is not None}


def M_of(checkpoint: PublishedCheckpoint) -> float | None:
    """The largest |x| over those sites; None where the files have none."""
    return max(peaks_of_M(checkpoint).values(), default=None)


def all_statistics(published: Published) -> Iterator[tuple[str, PublishedCheckpoint]]:
    """Every checkpoint and every subset, with what to call it."""
    for checkpoint in published.checkpoints:
        yield checkpoint.name, checkpoint
    for run in published.bootstrap:
        yield f"{run.name}, subset {run.repetition} of {run.size}", run.statistics


def names(values: Sequence[str], shown: int = 5) -> str:
    """Names in a sentence, the first few of many."""
    rest = len(values) - shown
    return ", ".join(values[:shown]) + (f" and {rest} more" if rest > 0 else "")
