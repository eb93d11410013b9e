"""Median SQNR of every format and granularity, for one kind of tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from maxact.figures.style import GREY, PLANTED_NOTE, label_rows, left_out, letters, message, row_height
from maxact.results.absent import NOT_AVAILABLE

WRITTEN = 36
"""Columns up to which cells have room for their value."""

Column = tuple[str, str]
"""Format and granularity."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each evaluated checkpoint, a column for each format and granularity, the median SQNR in each cell.

    Evaluated checkpoints without errors of the kind are named below, with the reason.
    """
    data = frames["granularities.parquet"]
    told = data[data["format"].notna()]
    lacking = data["format"].isna() & (data["kind"] != NOT_AVAILABLE)
    notes = _why_not(data[lacking], letters(style))
    data = data[~lacking]
    below = len("\n".join(notes).splitlines()) * 1.2 * style["font_size"] / 72
    if told.empty:
        figure = Figure(figsize=(style["width_inches"], 1.0 + below))
        message(figure, "\n".join(notes) or "no checkpoint of this study is evaluated at such tensors")
        return figure
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    columns = list(dict.fromkeys(zip(told["format"], told["granularity"], strict=True)))
    known = data.median_sqnr_db[np.isfinite(data.median_sqnr_db.astype("float64"))]
    height = max(row_height(entries, style["font_size"] - 1), 0.175)
    upright = 0.62 * style["font_size"] / 72 * max(len(granularity) for _, granularity in columns)
    above = len(entries) * height + 2 * upright + 1.2
    figure = Figure(figsize=(style["width_inches"], above + below), layout="constrained")
    limits = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    colours: Any = ScalarMappable(Normalize(limits[0], max(limits[1], limits[0] + 1)), "viridis")
    axes = figure.subplots()
    _panel(axes, data, entries, columns, colours, style)
    axes.set_xticks(range(len(columns)), [name for _, name in columns], rotation=90)
    _name_formats(axes, columns, style)
    bar = figure.colorbar(colours, ax=axes, location="bottom", aspect=60, shrink=0.7, pad=0.01)
    bar.set_label(f"{told['tensors'].iloc[0]}: median SQNR over the sites, dB")
    notes += [f"in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=style["font_size"])
    return figure


def _why_not(lacking: pd.DataFrame, width: int) -> list[str]:
    """Lines of the checkpoints of these rows, by their notes."""
    if lacking.empty:
        return []
    parts = lacking.groupby("note", sort=False)
    return [line for why, part in parts for line in left_out(part, str(why), width, "note")]


def _panel(
    axes: Axes,
    data: pd.DataFrame,
    entries: Sequence[Mapping[Any, Any]],
    columns: Sequence[Column],
    colours: Any,
    style: Mapping[str, float],
) -> None:
    cells = {(row["checkpoint"], row["format"], row["granularity"]): row for row in data.to_dict("records")}
    small = style["font_size"] - 2
    for row, entry in enumerate(entries):
        found = [cells.get((entry["checkpoint"], *column)) for column in columns]
        values = [
            math.nan if cell is None or pd.isna(cell["median_sqnr_db"]) else cell["median_sqnr_db"] for cell in found
        ]
        for at, value in enumerate(values):
            corner = (at - 0.47, row - 0.46)
            if math.isnan(value):
                axes.add_patch(
                    Rectangle(corner, 0.94, 0.92, facecolor="white", edgecolor="#cccccc", hatch="////", lw=0)
                )
                continue
            face = colours.to_rgba(value) if math.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
            axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=face, linewidth=0))
            bright = float(np.dot(face[:3], (0.2126, 0.7152, 0.0722)))
            text = f"{value:.0f}" if math.isfinite(value) else "∞"
            if len(columns) <= WRITTEN:
                color = "black" if bright > 0.45 else "white"
                axes.text(at, row, text, ha="center", va="center", fontsize=small, color=color)
        if all(math.isnan(value) for value in values):
            told = NOT_AVAILABLE if entry["kind"] == NOT_AVAILABLE else "no finite value"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            middle = (len(columns) - 1) / 2
            axes.text(middle, row, told, ha="center", va="center", fontsize=small, color=GREY, bbox=box)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    label_rows(axes, entries)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    for at in range(1, len(columns)):
        if columns[at][0] != columns[at - 1][0]:
            axes.axvline(at - 0.5, color="black", linewidth=0.6)


def _name_formats(axes: Axes, columns: Sequence[Column], style: Mapping[str, float]) -> None:
    """Formats over their granularities; one with a single column has its name upright in the place of that."""
    labels = [granularity for _, granularity in columns]
    for format in dict.fromkeys(name for name, _ in columns):
        mine = [at for at, (name, _) in enumerate(columns) if name == format]
        if len(mine) < 3:
            for at in mine:
                labels[at] = f"{format}, {columns[at][1]}"
    axes.set_xticklabels(labels)
    shown = max((0.62 * (style["font_size"] - 1) * len(label) for label in labels), default=0.0)
    for format in dict.fromkeys(name for name, _ in columns):
        mine = [at for at, (name, _) in enumerate(columns) if name == format]
        if len(mine) >= 3:
            axes.annotate(
                format,
                ((mine[0] + mine[-1]) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, shown + 8),
                textcoords="offset points",
                ha="center",
                va="bottom",
            )
