"""The residual streams of the members of each group, over relative depth."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maxact.figures.families import member_colors
from maxact.figures.style import PLANTED_NOTE, columns_for, label, logarithmic, message

DASHES = ("solid", (0, (4, 1.5)), (0, (1.5, 1)))


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each group, a line for each member; groups in which fewer than two have a residual stream are left out."""
    data = frames["residual_by_depth.parquet"]
    groups = [part for _, part in data.groupby(["question", "group"], sort=False) if part["checkpoint"].nunique() > 1]
    columns = min(3, columns_for(len(groups)))
    rows = [groups[start : start + columns] for start in range(0, len(groups), columns)]
    line = (style["font_size"] - 1) * 1.25 / 72
    heights = [1.45 + line * max(part["checkpoint"].nunique() * 1.4 for part in row) for row in rows]
    figure = Figure(figsize=(style["width_inches"], 0.5 + max(0.7, sum(heights))), layout="constrained")
    if not groups:
        message(figure, "no comparison of residual streams in this study")
        return figure
    grid = figure.subplots(len(rows), columns, squeeze=False, sharey=True, sharex=True)
    for axes, part in zip(grid.flat, groups, strict=False):
        curves(part, axes)
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    note = f"\nopen marks, {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    figure.supxlabel(f"relative depth, (layer + 1) / layers{note}", fontsize=style["font_size"] - 1)
    figure.supylabel("largest |x| of the residual stream", fontsize=style["font_size"])
    return figure


def curves(data: pd.DataFrame, axes: Axes) -> None:
    """A line for each member of one group, named below the panel; a largest |x| of zero leaves a gap."""
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    members = data.drop_duplicates("checkpoint")
    colors = member_colors(members["family"].tolist())
    for number, (_, part) in enumerate(data.groupby("checkpoint", sort=False)):
        entry = part.iloc[0].to_dict()
        planted = entry["kind"] == "planted"
        axes.plot(
            part["relative_depth"],
            part["peak"].where(part["peak"] > 0),
            color=colors[number],
            linestyle=DASHES[number % len(DASHES)],  # so that one line shows under another
            marker="o" if planted or len(part) == 1 else None,
            markersize=2.5,
            markerfacecolor="white" if planted else None,
            label=label(entry, 32),
        )
    first = data.iloc[0]
    question = str(first["question"]).replace("_", " ").replace("moe", "MoE")
    axes.set_title(f"{question}:\n{first['group']}", loc="left")
    axes.set_xlim(0, 1.02)
    axes.tick_params(axis="x", labelbottom=True)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(-0.1, -0.22), borderaxespad=0, handlelength=1.5, labelspacing=0.2
    )
    for text, kind in zip(legend.get_texts(), members["kind"], strict=True):
        text.set_fontstyle("italic" if kind == "planted" else "normal")
