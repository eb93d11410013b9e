"""M of every variant beside that of the study's own settings."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from maxact.figures.style import GREY, message, title

COLOR = "#0072B2"


def draw(data: pd.DataFrame, style: Mapping[str, float]) -> Figure:
    """A panel for each checkpoint, a row for each variant: the change of M, and beside it M and where it is."""
    names = list(dict.fromkeys(data["checkpoint"]))
    rows = len(data) + 3.2 * len(names)
    figure = Figure(figsize=(style["width_inches"], 0.5 + rows * style["font_size"] * 1.6 / 72), layout="constrained")
    if data["M"].isna().all():
        message(figure, f"no finite activation: {', '.join(names)}")
        return figure
    parts = [data[data["checkpoint"] == name] for name in names]
    grid = figure.subplots(len(names), squeeze=False, sharex=True, height_ratios=[len(part) for part in parts])
    for part, (axes,) in zip(parts, grid, strict=True):
        _panel(axes, part)
    grid[-1][0].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    grid[-1][0].set_xlabel("change of M")
    return figure


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    entries = part.to_dict("records")
    first = {**entries[0], "nonfinite": entries[0]["nonfinite"] if not pd.isna(entries[0]["nonfinite"]) else 0}
    axes.set_title(title(first).replace("\n", " "), loc="left")
    axes.axvline(0, color="#bbbbbb", linewidth=0.6)
    for row, entry in enumerate(entries):
        known = not pd.isna(entry["M"])
        if known and not pd.isna(entry["change"]):
            axes.barh(row, entry["change"], height=0.6, color=COLOR)
            axes.plot([entry["change"]], [row], "|", color=COLOR, markersize=7)
        text = f"{entry['M']:,.6g} at {entry['site']}" if known else "not applicable"
        axes.annotate(
            text,
            xy=(1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color="black" if known else GREY,
            annotation_clip=False,
        )
    labels = [
        entry["setting"] if entry["varied"] == "nothing" else f"{entry['varied']}: {entry['setting']}"
        for entry in entries
    ]
    axes.set_yticks(range(len(entries)), labels)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
