"""Where along the layers M stands, and where the residual stream comes up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from maxact.figures.style import GREY, PLANTED_NOTE, label_rows, left_out, letters, message, row_height, why_missing

MARKS = {
    "jump_depth": ("residual stream grows most", "#0072B2", ">", 5.0),
    "half_depth": ("reaches half of its largest |x|", "#000000", "o", 8.0),
    "depth": ("M", "#D55E00", "|", 10.0),
}


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint, marks over relative depth, and beside it by how much the stream grows in one layer."""
    data = frames["emergence.parquet"]
    entries = data.to_dict("records")
    height = max(0.18, row_height(entries, style["font_size"] - 1))
    figure = Figure(
        figsize=(style["width_inches"], 1.3 * style["font_size"] / 8 + height * len(entries)), layout="constrained"
    )
    if data["depth"].isna().all():
        message(figure, "\n".join(left_out(data, "no finite activation", letters(style))))
        return figure
    axes = figure.subplots()
    right = blended_transform_factory(axes.transAxes, axes.transData)
    for row, entry in enumerate(entries):
        axes.axhline(row, color="#dddddd", linewidth=0.5, zorder=0)
        text = "" if pd.isna(entry["jump"]) else f"{entry['jump']:,.3g} x"
        text = f"{entry['jump']:,.0f} x" if entry["jump"] >= 1000 else text
        unknown = pd.isna(entry["residual_peak"])
        if unknown:
            text = why_missing(entry, math.nan, "nothing finite" if pd.isna(entry["depth"]) else "")
        axes.text(1.02, row, text, va="center", transform=right, color=GREY if unknown else "black")
        for name in MARKS:
            _mark(axes, entry[name], row, name)
        if entry["kind"] == "planted":
            axes.axhspan(row - 0.5, row + 0.5, color="#f0f0f0", linewidth=0, zorder=-1)
    handles = [_mark(axes, math.nan, 0, name) for name in MARKS]
    figure.legend(handles, [name for name, *_ in MARKS.values()], loc="outside upper center", ncols=3)
    axes.text(1.02, -0.8, "growth", va="center", transform=right, color=GREY)
    axes.set_xlim(-0.02, 1.02)
    label_rows(axes, entries)
    note = f"\ngrey rows are {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    told = f"relative depth: 0 the embedding, (layer + 1) / layers, 1 the final norm{note}"
    figure.supxlabel(told, fontsize=style["font_size"])
    return figure


def _mark(axes: Axes, depth: float, row: int, name: str) -> Line2D:
    """A mark; that of half the largest |x| is a ring, so that another at its place shows in it."""
    _, color, marker, size = MARKS[name]
    face = "none" if name == "half_depth" else color
    return axes.plot(
        [depth], [row], marker, color=color, markersize=size, markerfacecolor=face, markeredgewidth=1.3, clip_on=False
    )[0]
