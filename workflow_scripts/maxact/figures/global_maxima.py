"""M of every checkpoint on a logarithmic axis, with what three formats can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from maxact.figures.style import (
    GREY,
    PLANTED_HATCH,
    PLANTED_NOTE,
    grey_names,
    left_out,
    letters,
    logarithmic,
    message,
    title,
    why_missing,
)
from maxact.results.absent import NOT_AVAILABLE
from maxact.sites.legend import LEGEND

LIMITS = {"e4m3 448": 448.0, "e5m2 57,344": 57344.0, "float16 65,504": 65504.0}


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A bar for each checkpoint, coloured by the component that carries M, labelled with the value and its place."""
    data = frames["global_maxima.csv"]
    pitch = 0.01 + 2 * style["font_size"] * 1.25 / 72  # two lines of text
    figure = Figure(figsize=(style["width_inches"], 1.0 + pitch * len(data)), layout="constrained")
    data = data if "M" in data else data.assign(M=math.nan)
    if not (data["M"] > 0).any():
        message(figure, "\n".join(left_out(data, "no finite activation above zero", letters(style))))
        return figure
    bars(data, figure.subplots())
    return figure


def bars(data: pd.DataFrame, axes: Axes) -> None:
    """Draw the bars, first row on top."""
    known = data["M"][data["M"] > 0]
    low, high = min(10.0, known.min() / 2), max(known.max(), max(LIMITS.values()))
    axes.set_xscale("log")
    logarithmic(axes.xaxis)
    axes.set_xlim(low, high * 1.5)
    right = blended_transform_factory(axes.transAxes, axes.transData)
    for row, entry in enumerate(data.to_dict("records")):
        if not entry["M"] > 0:
            told = why_missing(entry, entry["M"], "no finite activation\nabove zero")
            axes.text(1.02, row, told, va="center", color=GREY, transform=right)
            continue
        planted = entry["kind"] == "planted"
        color = LEGEND[entry["component"]].color
        axes.barh(
            row,
            entry["M"] - low,
            left=low,
            height=0.62,
            color="white" if planted else color,
            edgecolor=color,
            hatch=PLANTED_HATCH if planted else None,
            linewidth=0.8,
        )
        layer = "" if pd.isna(entry["layer"]) else f", layer {int(entry['layer'])}"
        label = f"{entry['M']:,.6g}\n{LEGEND[entry['component']].label}{layer}"
        axes.text(
            1.02, row, label, va="center", transform=right, linespacing=1.0
        )  # beside the panel, where no line crosses it
    for number, (name, limit) in enumerate(LIMITS.items()):
        axes.axvline(limit, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
        side = "left" if number == len(LIMITS) - 1 else "right"
        axes.annotate(f" {name} ", (limit, 1), xycoords=("data", "axes fraction"), va="bottom", ha=side, color=GREY)
    entries = data.assign(weights=data["weights"].str.partition(" (")[0]).to_dict("records")
    axes.set_yticks(range(len(data)), [title(entry) for entry in entries])
    grey_names(axes.get_yticklabels(), entries, (NOT_AVAILABLE,))
    axes.set_ylim(len(data) - 0.5, -0.5)
    axes.set_xlabel("M, the largest |x|" + (f"\nhatched, {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""))
