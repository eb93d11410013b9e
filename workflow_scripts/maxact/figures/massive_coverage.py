"""How many tokens pass the massive-activation test, against M."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.scatter import checkpoint_points, draw_named
from maxact.figures.style import PLANTED_NOTE, decades, left_out, letters, logarithmic, message

PLACES = {"residual": "at the residual site of largest |x|", "any": "at the site where most tokens pass"}


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each place of the test; a share of zero stands on the lowest line, which says so."""
    data = frames["massive_coverage.parquet"]
    shown = data[(data["M"] > 0) & data[[f"{place}_share" for place in PLACES]].notna().all(axis=1)]
    line = (style["font_size"] - 1) * 1.3 / 72
    height = max(1.6, line * len(data))
    figure = Figure(figsize=(style["width_inches"], 0.8 + (0.5 + height) * len(PLACES)), layout="constrained")
    uncounted = data[data["M"] > 0].drop(shown.index)
    width = letters(style)
    notes = left_out(data[~(data["M"] > 0)], "no finite activation above zero", width)
    notes += left_out(uncounted, "massive tokens are not counted", width)
    if shown.empty:
        message(figure, "\n".join(notes))
        return figure
    percent = 100 * shown[[f"{place}_share" for place in PLACES]]
    above_zero = percent.to_numpy()[percent.to_numpy() > 0]
    zero = decades(above_zero.min() / 1.1, 100)[0] if len(above_zero) else 0.1
    for axes, (place, title) in zip(
        figure.subplots(len(PLACES), 1, sharex=True, sharey=True), PLACES.items(), strict=True
    ):
        axes.set_title(title, loc="left")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*decades(shown["M"].min(), shown["M"].max()))
        axes.set_ylim(zero / 1.5, 150)
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        written = axes.yaxis.get_major_formatter()
        axes.yaxis.set_major_formatter(
            lambda value, at, written=written: "none" if value <= zero else written(value, at)
        )
        axes.axhline(zero, color="#aaaaaa", linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
        axes.grid(linewidth=0.3, alpha=0.6)
        points = shown.assign(percent=percent[f"{place}_share"].where(percent[f"{place}_share"] > 0, zero))
        draw_named(checkpoint_points(points, "M", "percent"), axes, line / height)
    notes += [f"grey and in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join(["M, the largest |x|", *notes]), fontsize=style["font_size"] - 1)
    figure.supylabel("tokens that pass, %", fontsize=style["font_size"])
    return figure
