"""What a run ends with: a short table, and what to mend. Standard library only, as Snakemake's process calls it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PLURAL = {"error": "errors", "warning": "warnings"}

FORMATS = ("float16", "e4m3", "e5m2")


def print_closing_table(manifest: Path, corpus: Path) -> None:
    """Print M of every checkpoint from the results' manifest, if there is one, and what is not as asked.

    Args:
        manifest: of the results.
        corpus: manifest of the corpus, whose domains may lack samples.
    """
    if manifest.exists():
        summary = json.loads(manifest.read_text(encoding="utf-8"))["summary"]
        print(closing_table(summary["checkpoints"]))
        for name, reason in summary["absent"].items():
            print(f"not available: {name}{'' if 'faults' in summary else ', which is optional'} ({reason})")
        if "instrument_check" in summary:
            print(f"instrument check: {summary['instrument_check']}")
        if any(summary.get("faults", {}).values()):
            told = ", ".join(f"{count} {_PLURAL.get(word, word)}" for word, count in summary["faults"].items())
            print(f"faults of the published files: {told}; see published_problems in the report's tables")
    if corpus.exists():
        told = json.loads(corpus.read_text(encoding="utf-8"))["summary"]
        for domain, count in told.get("shortfall", {}).items():
            print(f"corpus: {count} samples of {domain} could not be found; {told['filled_from']} fills them")


def print_errors(logs: Path, since: float) -> None:
    """Print once more, below all else that Snakemake says of failed jobs, the lines that say what to mend.

    Args:
        logs: the study's folder of logs; that of a failed job begins with `error: `.
        since: the time at which the run began, in seconds since the epoch.
    """
    for log in sorted(logs.glob("*/*.log")):
        text = log.read_text(encoding="utf-8", errors="replace")
        if text.startswith("error: ") and log.stat().st_mtime >= since:
            print(text.rstrip())


def closing_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligned text: checkpoint, M, where, and headroom (limit / M) to the largest value of three formats."""
    head = ["checkpoint", "M", "where", *(f"to {name}" for name in FORMATS)]
    cells = [head] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    for line in cells:
        left = (line[0].ljust(widths[0]), line[1].rjust(widths[1]), line[2].ljust(widths[2]))
        lines.append(
            "  ".join([*left, *(cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True))]).rstrip()
        )
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    told = [row["weights"], *(["has NaN or infinity"] if row["nonfinite"] else [])]
    name = f"{row['checkpoint']} ({', '.join(told)})"
    if row["M"] is None:
        return [name, row["why"], "", "", "", ""]
    headroom = (row["headroom"][key] for key in FORMATS)
    return [
        name,
        f"{row['M']:,.6g}",
        row["where"],
        *("" if x is None else "OVERFLOWS" if x < 1 else f"{x:,.1f}x" for x in headroom),
    ]
