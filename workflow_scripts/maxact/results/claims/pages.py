"""The claims of a study as a page and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.results.claims.claim import CHECKPOINTS, Claim
from maxact.results.pages import Page, Section, to_records

TITLE = "Claims of the paper"
INTRODUCTION = (
    'What "Measuring Maximum Activations in Open Large Language Models" (arXiv 2605.15572) says, in our words, and whether the '
    "measurements of this study say the same. Verdicts are computed; planted checkpoints never count. Main checkpoints are "
    "all real ones but those that are set beside the base that they were tuned from. A share of checkpoints or a correlation "
    f"over them is told of {CHECKPOINTS} or more; what is said of each of them is judged on those that there are, and the value "
    "says how many.",
)


def page(claims: Sequence[Claim], not_judged: Mapping[str, str]) -> Page:
    """A row for each claim, then its section: the statement, the verdict, its rows, and how it depends on choices.

    Args:
        not_judged: checkpoints of the study that no claim counts, each with why.
    """
    rows = [
        {
            "claim": claim.stated.title,
            "verdict": str(claim.verdict),
            "value": claim.read.value + (f"; in doubt: {claim.doubts}" if claim.doubts else ""),
            "other_choices": f"{claim.differing} of {len(claim.others)} give another verdict",
        }
        for claim in claims
    ]
    left_out = [f"{name} ({why})" for name, why in not_judged.items()]
    told = [f"Checkpoints of this study that no claim counts: {'; '.join(left_out)}."] if left_out else []
    sections = [_section(claim) for claim in claims]
    return Page(TITLE, [*INTRODUCTION, *told], pd.DataFrame(rows, dtype="str"), sections)


def _section(claim: Claim) -> Section:
    lines = [("", claim.stated.statement), ("Source", claim.stated.source)]
    lines += [("Verdict", f"{claim.verdict} ({claim.read.choice}): {claim.read.value}")]
    lines += [("In doubt", claim.doubts)] if claim.doubts else []
    tables = [("How it depends on choices; the first row is the verdict", claim.depends)]
    if len(claim.evidence):
        tables.append(("Evidence", claim.evidence))
    return Section(claim.stated.title, lines, tables)


def to_json(claims: Sequence[Claim], not_judged: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same, all rows, as JSON values."""
    return [
        {
            "name": claim.name,
            "statement": claim.stated.statement,
            "source": claim.stated.source,
            "verdict": str(claim.verdict),
            "value": claim.read.value,
            "in_doubt": dict(claim.in_doubt),
            "not_judged": dict(not_judged),
            "depends": to_records(claim.depends),
            "evidence": to_records(claim.evidence),
        }
        for claim in claims
    ]
