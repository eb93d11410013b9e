"""How many samples it takes to see M: the expected maximum of fewer of them, as a share of M."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from maxact.figures.style import (
    GREY,
    PLANTED_NOTE,
    columns_for,
    height_for,
    left_out,
    letters,
    logarithmic,
    message,
    name_panel,
    nothing,
    panels,
    why_missing,
)

COLOR = "#0072B2"


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each checkpoint; a curve that is flat long before its end has seen its maximum many times."""
    data, summary = frames["saturation.parquet"], frames["how_sure.parquet"]
    entries = summary.to_dict("records")
    columns = columns_for(len(entries))
    figure = Figure(figsize=(style["width_inches"], height_for(len(entries), 0.6)), layout="constrained")
    if data.empty:
        message(figure, "\n".join(left_out(summary, "no finite activation", letters(style))))
        return figure
    most = int(data["samples"].max())
    for entry, axes in zip(entries, panels(figure, len(entries), columns, sharex=True, sharey=True), strict=True):
        name_panel(axes, entry, columns)
        axes.set_xscale("log")
        axes.set_xlim(1, max(most, 2))
        logarithmic(axes.xaxis)
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _curve(axes, data[data["checkpoint"] == entry["checkpoint"]], entry)
    figure.supxlabel(
        "samples drawn, each domain its share"
        + (f"\ngrey panels are {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""),
        fontsize=style["font_size"],
    )
    figure.supylabel("expected maximum, share of M", fontsize=style["font_size"])
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, entry: Mapping[str, object]) -> None:
    if curve["share"].isna().all():
        nothing(axes, why_missing(entry, entry["M"], "nothing finite" if curve.empty else "M is 0"))
        return
    color = GREY if entry["kind"] == "planted" else COLOR
    axes.axhline(1.0, color="#bbbbbb", linewidth=0.6)
    axes.plot(curve["samples"], curve["share"], color=color, marker="o" if len(curve) == 1 else None, markersize=3)
