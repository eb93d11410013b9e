"""What the reader of the files has found wrong with them."""

from __future__ import annotations

from maxact.published.audit.finding import Finding, Severity, table
from maxact.published.records import Published


def faults_of_files(published: Published) -> Finding | None:
    """Every problem of a file: what was left out, and what was kept and contradicts something."""
    if not published.problems:
        return None
    rows = [
        {"file": one.file, "field": one.field, "what": one.what, "severity": one.severity} for one in published.problems
    ]
    errors = sum(one.severity == "error" for one in published.problems)
    return Finding(
        "faults_of_files",
        "Faults of files",
        Severity.NUMBER if errors else Severity.COSMETIC,
        f"{errors} fields or files could not be used and were left out; {len(rows) - errors} were kept as written and "
        "contradict something.",
        "all files, by their schema and by what follows from the definitions of their fields",
        table(rows),
    )
