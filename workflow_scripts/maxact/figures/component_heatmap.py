"""The largest |x| of every component of every checkpoint, as a table of colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from maxact.figures.style import GREY, PLANTED_NOTE, decades, label_rows, logarithmic, message, row_height
from maxact.sites.legend import LEGEND

MISSING = {"not applicable": "n/a", "not measured": "not asked", "no finite value": "not finite"}


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint, a column for each component, the value in each cell."""
    data = frames["component_maxima.parquet"]
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    known = data["peak"][data["peak"] > 0]
    height = max(row_height(entries, style["font_size"] - 1), 0.19)
    figure = Figure(
        figsize=(style["width_inches"], 1.4 * style["font_size"] / 8 + height * len(entries)), layout="constrained"
    )
    if known.empty:
        message(figure, "no finite activation above zero")
        return figure
    axes = figure.subplots()
    norm = LogNorm(*decades(known.min(), known.max()))
    colours = ScalarMappable(norm, "viridis")
    columns = list(LEGEND)
    rows = {entry["checkpoint"]: row for row, entry in enumerate(entries)}
    for cell in data.to_dict("records"):
        row, column = rows[cell["checkpoint"]], columns.index(cell["component"])
        corner = (column - 0.48, row - 0.46)
        if cell["status"] != "measured":
            axes.add_patch(
                Rectangle(corner, 0.96, 0.92, facecolor="white", edgecolor="#cccccc", hatch="////", linewidth=0)
            )
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            axes.text(column, row, MISSING[cell["status"]], ha="center", va="center", color=GREY, bbox=box)
            continue
        face = colours.to_rgba(cell["peak"]) if cell["peak"] > 0 else (1.0, 1.0, 1.0, 1.0)
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=face, linewidth=0))
        bright = float(np.dot(face[:3], (0.2126, 0.7152, 0.0722)))
        axes.text(
            column, row, written(cell["peak"]), ha="center", va="center", color="black" if bright > 0.45 else "white"
        )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    label_rows(axes, entries)
    axes.set_xticks(range(len(columns)), [LEGEND[name].label.replace(" output", "\noutput") for name in columns])
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, location="bottom", aspect=60, shrink=0.7, pad=0.02)
    note = f"\nin italics, {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    bar.set_label(f"largest |x|{note}")
    logarithmic(bar.ax.xaxis)
    return figure


def written(value: float) -> str:
    """A value as short as a cell needs: three significant digits below 1,000, whole numbers above."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
