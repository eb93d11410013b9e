"""The largest |x| along the layers of what blocks put out, a panel for each checkpoint; `per_layer_inside` has the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maxact.figures.style import (
    GREY,
    PLANTED_NOTE,
    columns_for,
    height_for,
    logarithmic,
    marked,
    name_panel,
    nothing,
    panels,
    why_missing,
)
from maxact.sites.legend import LEGEND

INSIDE = (
    *("attention_input", "query", "key", "value", "attention_context", "mlp_input"),
    *("expert_gate", "down_input", "expert_down_input"),
)
"""Components that have a figure of their own, so that the lines of each can be told apart."""


DOUBTED = "other numbers of the files tell another"


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """Panels in the order of the data, real checkpoints first, on one logarithmic axis."""
    return draw_components(frames["layers.parquet"], [name for name in LEGEND if name not in INSIDE], style)


def draw_components(layers: pd.DataFrame, components: Collection[str], style: Mapping[str, float]) -> Figure:
    """A panel for each checkpoint with a line for each of those components that it has."""
    groups = [part for _, part in layers.groupby("checkpoint", sort=False)]
    columns = columns_for(len(groups))
    figure = Figure(figsize=(style["width_inches"], height_for(len(groups), 0.9)), layout="constrained")
    for axes, part in zip(panels(figure, len(groups), columns, sharey=True), groups, strict=True):
        curves(part, components, axes, ticks=max(4, 16 // columns))
        name_panel(axes, part.iloc[0].to_dict(), columns)
    seen: dict[str, Artist] = {}
    for axes in figure.axes:
        seen = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)) | seen
    order = [label for label in (*(shown.label for shown in LEGEND.values()), DOUBTED) if label in seen]
    if order:
        figure.legend([seen[label] for label in order], order, loc="outside upper center", ncols=4)
    figure.supylabel("largest |x|", fontsize=style["font_size"])
    note = f"\ngrey panels are {PLANTED_NOTE}" if (layers["kind"] == "planted").any() else ""
    figure.supxlabel(f"layer{note}", fontsize=style["font_size"])
    return figure


def curves(data: pd.DataFrame, components: Collection[str], axes: Axes, ticks: int) -> None:
    """A line for each of those components; what exists once is a mark before the first layer or after the last.

    A largest |x| of zero has no place on a logarithmic axis and leaves a gap.
    """
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    last = 0 if data["layer"].isna().all() else int(data["layer"].max())
    entry, data = data.iloc[0].to_dict(), data[data["component"].isin(components)]
    if not (data["peak"] > 0).any():
        measured = "not measured" if data.empty else "no finite activation above zero"
        nothing(axes, why_missing(entry, entry["peak"], measured))
    told: list[str] = []
    for name, shown in LEGEND.items():
        part = data[(data["component"] == name) & (data["peak"] > 0)]
        if part.empty:
            continue
        told += [f"{name.replace('_', ' ')}:\n{what}" for what in part["holds"].dropna().unique()]
        doubted = part[part["contradicted"].eq(True)]
        if len(doubted):
            places = doubted["layer"].astype("float64").fillna(-1 if name == "embedding" else last + 1)
            axes.plot(places, doubted["peak"], "x", color="black", markersize=4, zorder=3, label=DOUBTED)
        if part["layer"].isna().all():
            at, marker = (-1, ">") if name == "embedding" else (last + 1, "<")
            axes.plot(
                [at], part["peak"], marker=marker, color=shown.color, markersize=4, linestyle="none", label=shown.label
            )
        else:
            heights = part.set_index(part["layer"].astype(int))["peak"].reindex(range(last + 1))
            line = axes.plot(heights.index, heights, color=shown.color, label=shown.label)[0]
            if any(marks := marked(heights)):
                line.set(marker=".", markevery=marks)
    axes.text(0.03, 0.98, "\n".join(told), transform=axes.transAxes, va="top", color=GREY, fontsize="xx-small")
    axes.set_xlim(-1.6, last + 1.6)
    axes.set_xticks([tick for tick in MaxNLocator(integer=True, nbins=ticks).tick_values(0, last) if 0 <= tick <= last])
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
