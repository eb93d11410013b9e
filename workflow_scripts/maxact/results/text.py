"""Tables as CSV and Markdown. The text of tokens is hostile: it must not break a table, run in a page or in a spreadsheet."""

from __future__ import annotations

import html
import math
import re
from typing import Any

import pandas as pd

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def to_csv(frame: pd.DataFrame) -> str:
    """Comma-separated, one line a row, numbers in full; what is missing is empty.

    Text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    return str(frame.map(_csv_cell).to_csv(index=False, lineterminator="\n"))


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def to_markdown(frame: pd.DataFrame) -> str:
    """A Markdown table; numbers rounded to be read, text escaped; planted checkpoints in italics with a dagger."""
    lines = [
        "| " + " | ".join(_escaped(name.replace("_", " ")) for name in frame.columns) + " |",
        "|---" * len(frame.columns) + "|",
    ]
    for row in frame.to_dict("records"):
        planted = row.get("kind") == "planted"
        cells = []
        for name, value in row.items():
            cell = _escaped(value) if isinstance(value, str) else number(value)
            cells.append(f"*{cell}* †" if planted and name == "checkpoint" else cell)
        lines.append("| " + " | ".join(cells) + " |")
    if "kind" in frame and (frame["kind"] == "planted").any():
        lines += [
            "",
            "† planted: tiny, untrained, one activation put in on purpose; says nothing about any released model.",
        ]
    return "\n".join(lines) + "\n"


def visible(text: str) -> str:
    """The same on one line: control characters and line breaks as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", html.escape(visible(text), quote=False))


def number(value: Any) -> str:
    """A number as people read it: four significant digits, thousands apart; nothing for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and not float(value).is_integer():
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{int(value):,}"
