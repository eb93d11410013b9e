"""The three largest |x| of the residual stream and its median along the layers, a panel for each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maxact.figures.style import (
    GREY,
    PLANTED_NOTE,
    columns_for,
    height_for,
    logarithmic,
    marked,
    message,
    name_panel,
    nothing,
    panels,
    why_missing,
    with_gaps,
)

LINES = {
    "top1": ("largest |x|", "#D55E00", "solid"),
    "top2": ("second", "#E69F00", (0, (4, 1.5))),
    "top3": ("third", "#0072B2", (0, (1.5, 1))),
    "median": ("median |x|", GREY, "solid"),
}


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """Panels in the order of the data, real checkpoints first, on one logarithmic axis."""
    data = frames["top_and_median_by_layer.parquet"]
    groups = [part for _, part in data.groupby("checkpoint", sort=False)]
    columns = columns_for(len(groups))
    figure = Figure(figsize=(style["width_inches"], height_for(len(groups), 0.9)), layout="constrained")
    if not groups:
        message(figure, "no residual stream was measured")
        return figure
    for axes, part in zip(panels(figure, len(groups), columns, sharey=True), groups, strict=True):
        curves(part, axes)
        name_panel(axes, part.iloc[0].to_dict(), columns)
    handles = [figure.axes[0].plot([], [], color=color, linestyle=dash)[0] for _, color, dash in LINES.values()]
    figure.legend(handles, [name for name, *_ in LINES.values()], loc="outside upper center", ncols=4)
    figure.supylabel("|x| of the residual stream", fontsize=style["font_size"])
    note = f"\ngrey panels are {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    figure.supxlabel(f"relative depth{note}", fontsize=style["font_size"])
    return figure


def curves(data: pd.DataFrame, axes: Axes) -> None:
    """Four lines over relative depth; a value of zero leaves a gap, and so does a layer that is missing."""
    entry, data = data.iloc[0].to_dict(), with_gaps(data[data["layer"].notna()])
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_xlim(0, 1.02)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    if not (data["top1"] > 0).any():
        nothing(axes, why_missing(entry, data["top1"].max(), "no finite activation\nabove zero"))
    for column, (_, color, dash) in LINES.items():
        heights = data[column].where(data[column] > 0)
        marks = marked(heights)
        axes.plot(
            data["relative_depth"],
            heights,
            color=color,
            linestyle=dash,
            marker="." if any(marks) else None,
            markevery=marks,
        )
