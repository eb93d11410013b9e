"""Hostile text neither breaks a table nor runs in a page or a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from maxact.results.text import NO_ROWS, number, to_csv, to_html, to_latex, to_markdown, visible

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
@settings(max_examples=300)
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


MACROS = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|", "textasciigrave": "`", "textquotesingle": "'", "textquotedbl": '"', "textdagger": "†", "emph": "",
}  # fmt: skip


def latex_rows(text: str) -> list[list[str]]:
    """The text of every cell of a tabular as LaTeX sets it; raises at any other command or character with a meaning."""
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    rows, cells, at, depth = [], [""], 0, 0
    while at < len(body):
        character = body[at]
        if body.startswith("\\\\\n", at):
            assert depth == 0
            rows.append([cell[1:-1] if number else cell[:-1] for number, cell in enumerate(cells)])
            cells, at = [""], at + 3
            continue
        if character == "\\":
            following = body[at + 1]
            if following.isalpha():
                name = "".join(itertools.takewhile(str.isalpha, body[at + 1 :]))
                assert body[at + 1 + len(name)] == "{", "a command would swallow what follows"
                cells[-1] += MACROS[name]
                at += 1 + len(name)
                continue
            assert following in "%&#$_{} ", following
            cells[-1] += following
            at += 2
            continue
        assert character not in "%#$_~^", character
        if character == "&":
            cells.append("")
        elif character in "{}":
            depth += 1 if character == "{" else -1
        else:
            assert not (depth == 0 and character in "[*"), "an option of the row's end"
            assert not (character in "-," and cells[-1].endswith(character) and body[at - 1] == character), "a ligature"
            cells[-1] += character
        at += 1
    return rows


@pytest.mark.parametrize(
    "text", [*HOSTILE, "100%", "a & b", "#1", "$x^2$", "{open", "}", "[8]", "*", "--", "a  b ", "\\input{x}"]
)
def test_hostile_text_is_one_cell_of_text_in_latex(text: str) -> None:
    written = to_latex(pd.DataFrame({"token_id": [1], "token": [text], "kind": ["real"], "M": [-1.5]}))
    assert latex_rows(written) == [["token id", "token", "kind", "M"], ["1", visible(text), "real", "-1.5"]]


@given(st.text(max_size=12))
@settings(max_examples=300)
def test_any_text_is_one_cell_of_text_in_latex(text: str) -> None:
    written = to_latex(pd.DataFrame({"token": [text], "after": [1]}))
    assert latex_rows(written)[1:] == [[visible(text), "1"]]


def test_a_latex_table_has_rules_alignment_and_the_note_of_planted_checkpoints() -> None:
    frame = pd.DataFrame(
        {"checkpoint": ["a_1", "b"], "kind": ["real", "planted"], "M": [1.0, 12288.0], "why": ["-", "x" * 60]}
    )
    written = to_latex(frame)
    assert r"\begin{tabular}{llrp{0.3\linewidth}}" in written
    assert [written.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"a\_1 & real & 1 & - \\" in written
    assert r"\emph{b}\textdagger{} & planted & 12,288 &" in written
    assert written.splitlines()[-1].startswith(r"\textdagger{} planted: tiny")
    assert "dagger" not in to_latex(frame[:1])


def test_a_group_with_planted_members_is_marked_where_there_is_no_checkpoint() -> None:
    frame = pd.DataFrame(
        {"question": ["scaling"], "group": ["g"], "kind": ["planted"], "verdict": ["M of b is that of a"]}
    )
    assert r"\emph{g}\textdagger{}" in to_latex(frame)
    assert "| *g* † |" in to_markdown(frame)
    assert "<td>g †</td>" in to_html(frame, "Verdicts")


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
        (1297.25, "1,297"),
        (999.96, "1,000"),
        (0.0123456, "0.01235"),
        (-0.5, "-0.5"),
        (7, "7"),
        (134515008, "134,515,008"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_to_be_read(value: object, shown: str) -> None:
    assert number(value) == shown


def test_a_table_without_rows_says_so() -> None:
    frame = pd.DataFrame(columns=["checkpoint", "kind", "M"])
    for text in (to_markdown(frame), to_latex(frame), to_html(frame, "Nothing")):
        assert NO_ROWS in text
    assert NO_ROWS not in to_markdown(pd.DataFrame({"checkpoint": ["a"], "kind": ["real"]}))


def test_csv_keeps_numbers_in_full() -> None:
    assert to_csv(pd.DataFrame({"x": [0.1 + 0.2, None]})) == 'x\n0.30000000000000004\n""\n'
