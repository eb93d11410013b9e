"""Hostile text neither breaks a table nor runs in a page or a spreadsheet."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from maxact.results.text import number, to_csv, to_html, to_markdown, visible

HOSTILE = [
    "a|b", "`code`", "**bold**", "_em_", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:b)",
    "![a](http://b)", "line\nbreak", "line\r\nbreak", "\ttab", "=1+1", "+1", "-1", "@sum", '"quoted"', "a,b", "'", "\\", "\\|",
    "\u202eright to left", "\u200bzero width", "\x00", "\x1b[31m", "\u2028", "&lt;", "~~gone~~", "# head", "中文", " the",
]  # fmt: skip


def cells(markdown: str) -> list[str]:
    """The text of every cell as a Markdown reader shows it; raises where the table has other than text in it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(markdown)
    found = []
    for token in tokens:
        if token.type == "inline":
            children = token.children or []
            assert {child.type for child in children} <= {"text", "text_special"}, (markdown, children)
            found.append("".join(child.content for child in children))
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_one_cell_of_text_in_markdown(text: str) -> None:
    shown = cells(to_markdown(pd.DataFrame({"kind": ["real"], "token": [text], "after": [1]})))
    assert shown == ["kind", "token", "after", "real", visible(text).strip(), "1"]


@given(st.text(max_size=12))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_one_cell_of_text_in_markdown(text: str) -> None:
    shown = cells(to_markdown(pd.DataFrame({"token": [text], "after": [1]})))
    assert shown[2:] == [visible(text).strip(), "1"]


class Cells(HTMLParser):
    """The text of every body cell of a page, and all its tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.lasttag == "td":
            self.cells[-1] += data.removesuffix("\n") if data == "\n" else data


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_one_cell_of_text_in_a_page(text: str) -> None:
    page = Cells(to_html(pd.DataFrame({"kind": ["real"], "token": [text], "after": [1]}), "Tokens"))
    assert page.cells == ["real", visible(text), "1"]
    assert page.tags == {"meta", "title", "style", "h1", "table", "thead", "tbody", "tr", "th", "td"}


def test_planted_checkpoints_are_marked_in_a_page() -> None:
    frame = pd.DataFrame({"checkpoint": ["a", "b"], "kind": ["real", "planted"], "M": [1.0, 12288.0]})
    page = to_html(frame, "Maxima")
    assert "<tr><td>a</td>" in page
    assert "<tr class=planted><td>b †</td><td>planted</td><td class=number>12,288</td></tr>" in page
    assert "says nothing about any released model" in page
    assert "†" not in to_html(frame[:1], "Maxima")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_one_cell_on_one_line_of_a_csv(text: str) -> None:
    written = to_csv(pd.DataFrame({"token": [text], "M": [-1.5]}))
    assert len(written.splitlines()) == 2
    (head, row) = csv.reader(io.StringIO(written))
    assert (head, row[1]) == (["token", "M"], "-1.5")
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert row[0].removeprefix("'") == visible(text).removeprefix("'")


def test_planted_checkpoints_are_marked_and_explained() -> None:
    frame = pd.DataFrame({"checkpoint": ["a", "b"], "kind": ["real", "planted"]})
    lines = to_markdown(frame).splitlines()
    assert lines[2] == "| a | real |"
    assert lines[3].startswith("| *b* † |")
    assert "says nothing about any released model" in lines[-1]
    assert "†" not in to_markdown(frame[:1])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (float("nan"), ""),
        (pd.NA, ""),
        (np.float64(12288.0), "12,288"),
        (26112.5, "26,112"),
        (0.0123456, "0.01235"),
        (-0.5, "-0.5"),
        (7, "7"),
        (134515008, "134,515,008"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_to_be_read(value: object, shown: str) -> None:
    assert number(value) == shown


def test_csv_keeps_numbers_in_full() -> None:
    assert to_csv(pd.DataFrame({"x": [0.1 + 0.2, None]})) == 'x\n0.30000000000000004\n""\n'
