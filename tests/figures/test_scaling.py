"""M against the number of parameters: a line for each family, and in words where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from figures.test_figures import STYLE, inside
from matplotlib.figure import Figure
from matplotlib.text import Text
from results.members import nothing_finite, planted, real

from maxact.figures import scaling
from maxact.figures.style import styled
from maxact.results.comparisons import comparisons
from maxact.results.frames import with_family
from maxact.results.member import Member


def sized(member: Member, parameters: int | None, M: float) -> Member:
    headline: Any = {**member.headline, "M": {**member.headline["M"], "value": M}}
    return replace(member, summary={**member.summary, "parameters": parameters}, headline=headline)


MEMBERS = [
    *(sized(real(name=f"a{number}"), 10**9 * number, 100.0 * number) for number in (1, 4, 30)),
    *(sized(planted(name=f"b{number}"), 10**6 * number, 7.0) for number in (2, 3)),
    sized(real(name="no size"), None, 5.0),
    nothing_finite("broken"),
]


def drawn(groups: dict[str, list[str]]) -> Figure:
    with styled(STYLE):
        questions = {"scaling": groups, "generations": {"other": ["a1", "b2"]}}
        frame = with_family(comparisons(MEMBERS, questions, {"gone": "no network"}), MEMBERS)
        figure = scaling.draw({"comparisons.parquet": frame}, STYLE)
        figure.draw_without_rendering()
    return figure


def test_each_family_is_a_line_over_its_sizes() -> None:
    figure = drawn({"a": ["a1", "a4", "a30", "gone"], "b": ["b2", "b3", "broken"]})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == ["a", "b"]
    assert lines["a"].get_xydata().tolist() == [[1, 100], [4, 400], [30, 3000]]
    assert lines["b"].get_xydata().tolist() == [[0.002, 7], [0.003, 7]]
    assert lines["b"].get_markerfacecolor() == "white"
    text = " ".join(artist.get_text() for artist in figure.findobj(Text))
    assert "says nothing about released models" in text
    inside(figure)


@pytest.mark.parametrize("groups", [{}, {"a": ["a1", "broken"]}, {"a": ["a1", "no size", "gone"]}])
def test_without_a_family_of_two_sizes_it_says_so(groups: dict[str, list[str]]) -> None:
    figure = drawn(groups)
    assert figure.axes == []
    told = [
        "no family of several sizes in this study",
        *(["not available: gone"] if "gone" in groups.get("a", []) else []),
    ]
    assert [text.get_text() for text in figure.texts] == ["\n".join(told)]


def test_it_reads_no_more_than_the_comparisons() -> None:
    columns = {"question", "group", "family", "checkpoint", "kind", "weights", "nonfinite", "parameters", "M"}
    frame = with_family(comparisons(MEMBERS, {"scaling": {"a": ["a1", "a4"]}}, {}), MEMBERS)
    with styled(STYLE):
        scaling.draw({"comparisons.parquet": pd.DataFrame(frame[list(columns)])}, STYLE)
