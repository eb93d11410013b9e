"""SQNR against the clipping threshold, with the thresholds of the policies: a panel for each checkpoint."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maxact.figures.style import (
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

COLOURS = ("#0072B2", "#D55E00")
STYLES: tuple[Any, ...] = ("-", "--")
MARKS = tuple(itertools.product((True, False), ("o", "s", "^", "D", "v", "P", "X")))
"""Filled ones first, then hollow ones."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A curve for each format (colour) and site (line); a mark where each policy puts its threshold."""
    data = frames["clipping_curves.parquet"]
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    columns = columns_for(len(entries))
    figure = Figure(figsize=(style["width_inches"], height_for(len(entries), 1.3)), layout="constrained")
    finite = data[np.isfinite(data["sqnr_db"])]
    if finite.empty:
        message(figure, "\n".join(left_out(data, "no finite activation", letters(style), "sqnr_db")))
        return figure
    formats, reasons, policies = (list(data[name].dropna().unique()) for name in ("format", "reason", "policy"))
    marks = dict(zip(policies, itertools.cycle(MARKS), strict=False))
    chosen = finite.loc[(finite["kind_of_row"] == "policy") & (finite["share"] > 0), "share"]
    lowest = chosen.min() if len(chosen) else 1.0
    for entry, axes in zip(entries, panels(figure, len(entries), columns, sharex=True, sharey=True), strict=True):
        axes.set_xscale("log")
        axes.set_xlim(min(5e-4, lowest / 1.5), 3)
        logarithmic(axes.xaxis)
        axes.set_ylim(min(0.0, finite["sqnr_db"].min()), finite["sqnr_db"].max() * 1.05)
        own = finite[finite["checkpoint"] == entry["checkpoint"]]
        name_panel(axes, entry, columns, ", ".join(own.drop_duplicates("reason")["site"]))
        if own.empty:
            nothing(axes, why_missing(entry, entry["sqnr_db"], "no finite activation"))
            continue
        _curves(axes, own, formats, reasons, marks)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in zip(formats, COLOURS, strict=False)]
    handles += [
        Line2D([], [], color="black", linestyle=line, label=why) for why, line in zip(reasons, STYLES, strict=False)
    ]
    handles += [
        Line2D([], [], color="black", marker=marker, markerfacecolor="black" if filled else "white", linestyle="none",
               markersize=4, label=policy.replace("_", " "))
        for policy, (filled, marker) in marks.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    planted = f"\ngrey panels are {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    figure.supxlabel(
        f"threshold, share of the largest |x| of the evaluation split{planted}", fontsize=style["font_size"]
    )
    figure.supylabel("SQNR in dB, evaluation split", fontsize=style["font_size"])
    return figure


def _curves(
    axes: Axes, data: pd.DataFrame, formats: list[str], reasons: list[str], marks: Mapping[str, tuple[bool, str]]
) -> None:
    for (format, reason), part in data.groupby(["format", "reason"], sort=False):
        colour, line = COLOURS[formats.index(format)], STYLES[reasons.index(reason)]
        curve = part[part["kind_of_row"] == "curve"].sort_values("share")
        axes.plot(curve["share"], curve["sqnr_db"], color=colour, linestyle=line, linewidth=1.0)
        for chosen in part[part["kind_of_row"] == "policy"].to_dict("records"):
            filled, marker = marks[chosen["policy"]]
            axes.plot(
                [chosen["share"]], [chosen["sqnr_db"]], marker=marker, markersize=3.5, linestyle="none",
                markerfacecolor=colour if filled else "white", markeredgecolor="black" if filled else colour,
                markeredgewidth=0.4 if filled else 0.8,
            )  # fmt: skip
