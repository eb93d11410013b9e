"""Pages of findings: a short table first, then a section for each, as Markdown and HTML; and tables as plain JSON values.

All text is escaped, whether it comes from files, models or this software.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maxact.results.registry import PAGE_SUFFIXES
from maxact.results.text import html_page, html_table, html_text, markdown_text, to_markdown
from maxact.store.objects import canonical

SHOWN = 40
"""Rows of a table that a page shows; the JSON has all."""


@dataclass(frozen=True)
class Section:
    """One finding.

    Attributes:
        lines: paragraphs, each with the word before its colon, or none.
        tables: each with its caption.
    """

    title: str
    lines: Sequence[tuple[str, str]]
    tables: Sequence[tuple[str, pd.DataFrame]]


@dataclass(frozen=True)
class Page:
    """What people read."""

    title: str
    introduction: Sequence[str]
    summary: pd.DataFrame
    sections: Sequence[Section]


def page_files(folder: Path, name: str, page: Page, values: Any) -> dict[str, Path]:
    """Write a page in each format into `folder`, with `values` as its JSON; the files by their names."""
    texts = (page_to_markdown(page), canonical(values) + "\n", page_to_html(page))
    files = {f"{name}.{suffix}": folder / f"{name}.{suffix}" for suffix in PAGE_SUFFIXES}
    for file, text in zip(files.values(), texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def page_to_markdown(page: Page) -> str:
    """The page as Markdown."""
    parts = [
        f"# {markdown_text(page.title)}",
        *map(markdown_text, page.introduction),
        to_markdown(page.summary).strip(),
    ]
    for section in page.sections:
        parts.append(f"## {markdown_text(section.title)}")
        parts += [
            (f"**{markdown_text(word)}:** " if word else "") + markdown_text(text) for word, text in section.lines
        ]
        for caption, frame in section.tables:
            shown, left_out = _shortened(frame)
            parts += [f"*{markdown_text(caption + left_out)}*", to_markdown(shown).strip()]
    return "\n\n".join(parts) + "\n"


def page_to_html(page: Page) -> str:
    """The page as HTML: what Snakemake's report shows."""
    parts = [f"<h1>{html_text(page.title)}</h1>", *(f"<p>{html_text(text)}</p>" for text in page.introduction)]
    parts.append(html_table(page.summary))
    for section in page.sections:
        parts.append(f"<h2>{html_text(section.title)}</h2>")
        parts += [
            f"<p>{f'<b>{html_text(word)}:</b> ' if word else ''}{html_text(text)}</p>" for word, text in section.lines
        ]
        for caption, frame in section.tables:
            shown, left_out = _shortened(frame)
            parts += [f"<p><i>{html_text(caption + left_out)}</i></p>", html_table(shown)]
    return html_page(page.title, parts)


def _shortened(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The columns that say something and the first rows, and how many rows are left out."""
    said = frame[[name for name in frame.columns if frame[name].notna().any()]]
    rest = len(frame) - SHOWN
    return said.head(SHOWN), f"; {rest} further rows are in the JSON file" if rest > 0 else ""


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of JSON values: what is missing is null, and infinities, which JSON has not, are text."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA:
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    return value
