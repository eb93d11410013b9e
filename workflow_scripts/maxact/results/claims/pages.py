"""The claims of a study as a page and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.results.claims.claim import Claim
from maxact.results.pages import Page, Section, to_records

TITLE = "Claims of the paper"
INTRODUCTION = (
    'What "Measuring Maximum Activations in Open Large Language Models" (arXiv 2605.15572) says, in our words, and whether the '
    "measurements of this study say the same. Verdicts are computed; planted checkpoints never count. Main checkpoints are "
    "all real ones but those that are set beside the base that they were tuned from.",
)


def page(claims: Sequence[Claim]) -> Page:
    """A row for each claim, then its section: the statement, the verdict, its rows, and how it depends on choices."""
    rows = [
        {
            "claim": claim.stated.title,
            "verdict": str(claim.verdict),
            "value": claim.read.value,
            "other_choices": f"{claim.differing} of {len(claim.others)} give another verdict",
        }
        for claim in claims
    ]
    return Page(TITLE, INTRODUCTION, pd.DataFrame(rows, dtype="str"), [_section(claim) for claim in claims])


def _section(claim: Claim) -> Section:
    lines = [("", claim.stated.statement), ("Source", claim.stated.source)]
    lines += [("Verdict", f"{claim.verdict} ({claim.read.choice}): {claim.read.value}")]
    tables = [("How it depends on choices; the first row is the verdict", claim.depends)]
    if len(claim.evidence):
        tables.append(("Evidence", claim.evidence))
    return Section(claim.stated.title, lines, tables)


def to_json(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """The same, all rows, as JSON values."""
    return [
        {
            "name": claim.name,
            "statement": claim.stated.statement,
            "source": claim.stated.source,
            "verdict": str(claim.verdict),
            "value": claim.read.value,
            "depends": to_records(claim.depends),
            "evidence": to_records(claim.evidence),
        }
        for claim in claims
    ]
