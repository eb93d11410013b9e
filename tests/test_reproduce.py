"""docs/reproduce.md names every table and figure, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from maxact.figures.registry import FIGURES
from maxact.results.registry import TABLES

PAGE = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")


def column(number: int) -> set[str]:
    """The names in that column of the page's tables."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("|")]
    assert all(len(row) == 3 for row in rows)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row[number])}


def test_every_table_and_figure_has_its_subject() -> None:
    assert column(1) == set(TABLES)
    assert column(2) == set(FIGURES)


def test_every_target_in_a_command_is_one() -> None:
    figures = re.findall(r"reports/\w+/figures/(\w+)\.pdf", PAGE)
    assert figures
    assert set(figures) <= set(FIGURES)
    assert set(re.findall(r"--figure (\w+)", PAGE)) <= set(FIGURES)
