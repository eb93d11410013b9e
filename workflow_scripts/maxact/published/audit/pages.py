"""The audit as a page and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.published.audit.finding import Finding
from maxact.results.pages import Page, Section, to_records

TITLE = "Audit of the published results"
INTRODUCTION = (
    "What a careful reader of the authors' result files should know. Findings of the data are computed from the files, "
    "each by a check that runs on any set of such files; findings of the code were read in the released code, and are told "
    "with file, lines and commit. Severity is what a finding does to what the paper says.",
)
SHOWS = ("data", "code")


def page(data: Sequence[Finding], code: Sequence[Finding]) -> Page:
    """A row for each finding, then its section."""
    told = [(SHOWS[0], finding) for finding in data] + [(SHOWS[1], finding) for finding in code]
    rows = [
        {"finding": one.title, "severity": str(one.severity), "shown_by": by, "rows": len(one.rows) or None}
        for by, one in told
    ]
    summary = pd.DataFrame(rows, columns=["finding", "severity", "shown_by", "rows"]).astype({"rows": "Int64"})
    return Page(TITLE, INTRODUCTION, summary, [_section(finding) for _, finding in told])


def _section(finding: Finding) -> Section:
    lines = [("", finding.what), ("Severity", str(finding.severity)), ("Source", finding.source)]
    return Section(finding.title, lines, [("Rows", finding.rows)] if len(finding.rows) else [])


def to_json(data: Sequence[Finding], code: Sequence[Finding]) -> list[dict[str, Any]]:
    """The same, all rows, as JSON values."""
    return [
        {
            "name": finding.name,
            "title": finding.title,
            "severity": str(finding.severity),
            "shown_by": by,
            "what": finding.what,
            "source": finding.source,
            "rows": to_records(finding.rows),
        }
        for by, found in zip(SHOWS, (data, code), strict=True)
        for finding in found
    ]
