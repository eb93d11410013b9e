"""A table of colours: a row for each checkpoint, the value in each cell, on one logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from maxact.figures.style import (
    GREY,
    PLANTED_NOTE,
    decades,
    label_rows,
    left_out,
    letters,
    logarithmic,
    message,
    row_height,
)
from maxact.results.absent import NOT_AVAILABLE

WIDE = 9
"""Columns that have room for whole numbers and for labels side by side."""


@dataclass(frozen=True)
class Cell:
    """Attributes: where it stands, its value, and what is said in place of a value that is missing."""

    checkpoint: str
    column: str
    value: float
    missing: str | None = None


def draw_matrix(
    data: pd.DataFrame, cells: Sequence[Cell], columns: Mapping[str, str], what: str, style: Mapping[str, float]
) -> Figure:
    """The figure.

    Args:
        data: rows with the columns that say what a checkpoint is; their order is that of the figure.
        cells: none twice, and none of a checkpoint that could not be had.
        columns: label by name, from left to right.
        what: the values are.
    """
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    known = [cell.value for cell in cells if cell.missing is None and cell.value > 0]
    height = max(row_height(entries, style["font_size"] - 1), 0.19)
    names = list(columns)
    narrow = len(names) > WIDE
    # Narrow columns have upright labels on one line, as high as the longest; a letter is about 0.6 of its size wide.
    labels = [columns[name].replace("\n", " ") if narrow else columns[name] for name in names]
    upright = 0.6 * style["font_size"] / 72 * max(map(len, labels)) if narrow else 0.0
    margins = 1.4 * style["font_size"] / 8 + upright
    figure = Figure(figsize=(style["width_inches"], margins + height * len(entries)), layout="constrained")
    if not known:
        largest = pd.Series([cell.value for cell in cells], [cell.checkpoint for cell in cells], "float64")
        out = data.assign(largest=data["checkpoint"].map(largest.groupby(level=0).max()))
        told = left_out(out, "no finite activation above zero", letters(style), "largest")
        message(figure, "\n".join(told))
        return figure
    axes = figure.subplots()
    colours: Any = ScalarMappable(LogNorm(*decades(min(known), max(known))), "viridis")
    size = style["font_size"] * (WIDE / len(names)) ** 0.5 if narrow else style["font_size"]
    rows = {entry["checkpoint"]: row for row, entry in enumerate(entries)}
    for row, entry in enumerate(entries):
        if entry["kind"] == NOT_AVAILABLE:
            _hatched(axes, (-0.48, row - 0.46), len(names) - 0.04, NOT_AVAILABLE, size)
    for cell in cells:
        row, column = rows[cell.checkpoint], names.index(cell.column)
        corner = (column - 0.48, row - 0.46)
        if cell.missing is not None:
            _hatched(axes, corner, 0.96, cell.missing.replace(" ", "\n") if narrow else cell.missing, size)
            continue
        face = colours.to_rgba(cell.value) if cell.value > 0 else (1.0, 1.0, 1.0, 1.0)
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=face, linewidth=0))
        bright = float(np.dot(face[:3], (0.2126, 0.7152, 0.0722)))
        color = "black" if bright > 0.45 else "white"
        axes.text(column, row, written(cell.value, narrow), ha="center", va="center", color=color, fontsize=size)
    axes.set_xlim(-0.5, len(names) - 0.5)
    label_rows(axes, entries)
    axes.set_xticks(range(len(names)), labels, rotation=90 if narrow else 0)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, location="bottom", aspect=60, shrink=0.7, pad=0.02)
    bar.set_label(what)
    if (data["kind"] == "planted").any():
        figure.supxlabel(f"in italics, {PLANTED_NOTE}", fontsize=style["font_size"])
    logarithmic(bar.ax.xaxis)
    return figure


def _hatched(axes: Axes, corner: tuple[float, float], width: float, told: str, size: float) -> None:
    """A cell, or all of a row, without a value, and why."""
    axes.add_patch(Rectangle(corner, width, 0.92, facecolor="white", edgecolor="#cccccc", hatch="////", linewidth=0))
    middle = (corner[0] + width / 2, corner[1] + 0.46)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(*middle, told, ha="center", va="center", color=GREY, bbox=box, fontsize=size)


def written(value: float, narrow: bool = False) -> str:
    """A value as short as a cell needs: three significant digits below 1,000, whole numbers above, or thousands as k."""
    if narrow and value >= 1000:
        return f"{value / 1000:.3g}k" if value < 999500 else f"{value / 1e6:.3g}M"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
