"""Router and gate of mixtures of experts along the relative depth, the gate of a dense sibling beside them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maxact.figures.style import (
    GREY,
    PLANTED_NOTE,
    columns_for,
    height_for,
    left_out,
    letters,
    logarithmic,
    marked,
    message,
    name_panel,
    nothing,
    panels,
    with_gaps,
)
from maxact.results.absent import NOT_AVAILABLE
from maxact.sites.legend import LEGEND

DENSE = (0, (3, 1.2))


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each checkpoint with a router, on one logarithmic axis; dashed, the gate of its dense siblings."""
    every = frames["routers_and_gates.parquet"]
    data = every[every["kind"] != NOT_AVAILABLE].astype({"dense": bool})
    groups = [part for _, part in data.groupby("mixture", sort=False)]
    columns = columns_for(len(groups))
    figure = Figure(figsize=(style["width_inches"], height_for(len(groups), 1.2, least=1.2)), layout="constrained")
    gone = left_out(every.drop(data.index), "", letters(style), "peak")
    if not groups:
        message(figure, "\n".join(["no mixture of experts in this study", *gone]))
        return figure
    for axes, part in zip(panels(figure, len(groups), columns, sharex=True, sharey=True), groups, strict=True):
        axes.tick_params(labelbottom=True)
        axes.set_xlim(-0.02, 1.02)
        curves(part, axes)
        name_panel(axes, part[~part["dense"]].iloc[0].to_dict(), columns)
    handles = [
        Line2D([], [], color=shown.color, label=shown.label)
        for name, shown in LEGEND.items()
        if name in set(data.loc[~data["dense"], "component"])
    ]
    if data["dense"].any():
        handles.append(Line2D([], [], color=LEGEND["gate"].color, linestyle=DENSE, label="gate of a dense sibling"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    notes = ["relative depth, (layer + 1) / layers"]
    notes += [f"grey panels are {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join([*notes, *gone]), fontsize=style["font_size"])
    figure.supylabel("largest |x|", fontsize=style["font_size"])
    return figure


def curves(data: pd.DataFrame, axes: Axes) -> None:
    """The lines of one mixture of experts, and in words its siblings and what it has no numbers of.

    A layer that is missing leaves a gap; one between gaps is a mark, as all are where a line has few.
    """
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    if not (data["peak"] > 0).any():
        nothing(axes, "no finite activation above zero")
        return
    for (_, dense, component), part in data.groupby(["checkpoint", "dense", "component"], sort=False):
        line = with_gaps(part)
        heights = line["peak"].where(line["peak"] > 0)
        axes.plot(
            line["relative_depth"],
            heights,
            color=LEGEND[component].color,
            linestyle=DENSE if dense else "solid",
            marker="o",
            markevery=marked(heights),
            markersize=2.5,
        )
    own = set(data.loc[~data["dense"], "component"])
    told = [f"dashed: {name}" for name in data.loc[data["dense"], "checkpoint"].unique()]
    told += [] if own & {"gate", "expert_gate"} else ["no gate in the data"]
    held = data.dropna(subset="holds").drop_duplicates(["component", "holds"])
    told += [f"{LEGEND[row.component].label}: {row.holds}" for row in held.itertuples()]
    axes.text(0.03, 0.97, "\n".join(told), transform=axes.transAxes, va="top", color=GREY, fontsize="small")
    axes.margins(y=0.15 + 0.06 * len(told))
