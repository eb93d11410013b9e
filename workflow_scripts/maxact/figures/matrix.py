"""A table of colours: a row for each checkpoint, the value in each cell, on one logarithmic scale."""

from __future__ import annotations

import textwrap
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
    label,
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


OTHER = (0.88, 0.88, 0.88, 1.0)
"""The face of a cell whose value is of another quantity."""


LETTER = 0.55
"""Width of a letter of a cell or a row's name, by its size."""


@dataclass(frozen=True)
class Cell:
    """A place and its value.

    Attributes:
        missing: what is said in place of a value that is missing.
        other: what the value is, if it is none of the quantity of the others: it has no colour.
        doubted: it has a question mark.
    """

    checkpoint: str
    column: str
    value: float
    missing: str | None = None
    other: str | None = None
    doubted: bool = False


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
    known = [cell.value for cell in cells if cell.missing is None and cell.other is None and cell.value > 0]
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
    longest = max(len(line) for entry in entries for line in label(entry).split("\n"))
    inches = 0.96 * (style["width_inches"] - 0.1 - LETTER * (style["font_size"] - 1) / 72 * longest) / len(names)
    rows = {entry["checkpoint"]: row for row, entry in enumerate(entries)}
    for row, entry in enumerate(entries):
        if entry["kind"] == NOT_AVAILABLE:
            _hatched(axes, (-0.48, row - 0.46), len(names) - 0.04, NOT_AVAILABLE, size)
    for cell in cells:
        row, column = rows[cell.checkpoint], names.index(cell.column)
        corner = (column - 0.48, row - 0.46)
        if cell.missing is not None:
            short = not narrow and height > 0.25 and _fitting(cell.missing, size, inches) < size - 1
            why = cell.missing.replace(" ", "\n") if narrow else cell.missing
            why = textwrap.fill(why, 1 + len(why) // 2) if short else why
            _hatched(axes, corner, 0.96, why, _fitting(why, size, inches))
            continue
        face = colours.to_rgba(cell.value) if cell.value > 0 else (1.0, 1.0, 1.0, 1.0)
        face = OTHER if cell.other is not None else face
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=face, linewidth=0))
        bright = float(np.dot(face[:3], (0.2126, 0.7152, 0.0722)))
        color = "black" if bright > 0.45 else "white"
        text = written(cell.value, narrow) + (" ?" if cell.doubted else "")
        text += "" if cell.other is None else f",\n{cell.other}" if narrow else f", {cell.other}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=_fitting(text, size, inches))
    axes.set_xlim(-0.5, len(names) - 0.5)
    label_rows(axes, entries)
    axes.set_xticks(range(len(names)), labels, rotation=90 if narrow else 0)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, location="bottom", aspect=60, shrink=0.7, pad=0.02)
    bar.set_label(what)
    notes = ["?: other numbers of the files tell another"] if any(cell.doubted for cell in cells) else []
    notes += (
        ["grey: no activation, but what else a router put out"] if any(cell.other is not None for cell in cells) else []
    )
    notes += [f"in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    if notes:
        figure.supxlabel("; ".join(notes), fontsize=style["font_size"])
    logarithmic(bar.ax.xaxis)
    return figure


def _fitting(text: str, size: float, inches: float) -> float:
    """The size of the letters of a cell: smaller, if need be, so that the longest line fits."""
    return max(size - 2, min(size, 72 * inches / (LETTER * max(map(len, text.split("\n"))))))


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
