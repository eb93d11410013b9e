"""M of the members of each group, set beside each other."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from maxact.figures.style import GREY, PLANTED_HATCH, PLANTED_NOTE, decades, label_rows, logarithmic, message
from maxact.sites.legend import LEGEND

COLUMNS = 2
WIDTH = 24
"""Characters of a checkpoint's name on one line."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each group: a bar for each member, coloured by the component that carries M; above it the verdict."""
    data = frames["comparisons.parquet"]
    groups = [
        part.to_dict("records") for _, part in data.dropna(subset="group").groupby(["question", "group"], sort=False)
    ]
    line = (style["font_size"] - 1) * 1.3 / 72
    width = max(20, int(46 * style["width_inches"] / style["font_size"]))
    rows = [groups[start : start + COLUMNS] for start in range(0, len(groups), COLUMNS)]
    heights = [max(_lines(group, width) for group in row) * line + 0.25 for row in rows]
    figure = Figure(figsize=(style["width_inches"], max(1.2, 0.9 + sum(heights))), layout="constrained")
    if not groups:
        message(figure, "no comparison in this study")
        return figure
    known = data["M"][data["M"] > 0]
    low = decades(known.min() / 2, known.max())[0] if len(known) else 0.1
    high = known.max() * 1.2 if len(known) else 1.0
    ratios = [max(max(len(group) for group in row), 1) for row in rows]
    grid = figure.subplots(len(rows), COLUMNS, squeeze=False, sharex=True, gridspec_kw={"height_ratios": ratios})
    for number, (axes, group) in enumerate(zip(grid.flat, groups, strict=False)):
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        bars(group, axes, width)
        most = max(len(other) for other in rows[number // COLUMNS])
        axes.set_ylim(most - 0.5, -0.5)  # bars of panels beside each other are of one height
        axes.spines["left"].set_bounds(-0.5, len(group) - 0.5)
    for axes in grid.flat[len(groups) :]:
        axes.axis("off")
    for axes in grid.flat[max(0, len(groups) - COLUMNS) : len(groups)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    logarithmic(grid[0][0].xaxis)
    _legend(figure, data)
    without = data["question"][data["group"].isna()].tolist()
    notes = ["M, the largest |x|"]
    notes += [f"no group in this study: {', '.join(map(_words, without))}"] if without else []
    notes += [f"hatched and in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join(notes), fontsize=style["font_size"] - 1)
    return figure


def bars(group: Sequence[Mapping[str, Any]], axes: Axes, width: int) -> None:
    """Draw the members of one group, the first on top; one without M says why.

    Args:
        group: rows of the table `comparisons`, of one group.
        axes: with the limits of all panels.
        width: characters of the title's lines.
    """
    left = axes.get_xlim()[0]
    for row, entry in enumerate(group):
        if not entry["M"] > 0:
            absent = entry["kind"] == "not available"
            text = "not available" if absent else "0" if entry["M"] == 0 else "nothing finite"
            axes.text(left * 1.1, row, text, va="center", color=GREY)
            continue
        color, planted = LEGEND[entry["component"]].color, entry["kind"] == "planted"
        axes.barh(
            row,
            entry["M"] - left,
            left=left,
            height=0.66,
            color="white" if planted else color,
            edgecolor=color,
            hatch=PLANTED_HATCH if planted else None,
            linewidth=0.8,
        )
        axes.annotate(f"{entry['M']:,.4g}" if entry["M"] < 1000 else f"{entry['M']:,.0f}", (1.02, row),
                      xycoords=("axes fraction", "data"), va="center")  # fmt: skip
    # What an absent checkpoint has under weights is the reason, which the table tells.
    named = [
        entry if entry["kind"] != "not available" else {**entry, "weights": "as released", "nonfinite": 0}
        for entry in group
    ]
    label_rows(axes, named, WIDTH)
    axes.set_title(_title(group[0], width), loc="left", fontsize="small")


def _title(entry: Mapping[str, Any], width: int) -> str:
    head = textwrap.fill(f"{_words(entry['question'])}: {entry['group']}", width, break_on_hyphens=False)
    return f"{head}\n{textwrap.fill(entry['verdict'], width, break_on_hyphens=False)}"


def _words(question: str) -> str:
    return question.replace("_", " ").replace("moe", "MoE")


def _lines(group: Sequence[Mapping[str, Any]], width: int) -> float:
    """Lines of text that a panel is high: its title and its rows."""
    long = any(len(str(entry["checkpoint"])) > WIDTH or entry["kind"] != "real" for entry in group)
    return 1.2 * (_title(group[0], width).count("\n") + 1) + len(group) * (2.1 if long else 1.3)


def _legend(figure: Figure, data: pd.DataFrame) -> None:
    seen = set(data["component"].dropna())
    handles = [Patch(color=shown.color, label=shown.label) for name, shown in LEGEND.items() if name in seen]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=5)
