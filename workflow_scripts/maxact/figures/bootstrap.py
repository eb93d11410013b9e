"""M of random subsets of the samples beside M of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from maxact.figures.style import GREY, PLANTED_NOTE, label_rows, message, row_height, why_missing

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKS = ("o", "s", "^", "D")


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint; in it a line for each size of subsets, with a mark at the M of each subset."""
    data = frames["subsets.parquet"]
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    sizes = sorted(data["size"].dropna().unique())
    height = row_height(entries, style["font_size"] - 1) + 0.14 * max(1, len(sizes))
    figure = Figure(figsize=(style["width_inches"], 0.9 + height * max(1, len(entries))), layout="constrained")
    if data["share"].isna().all():
        message(figure, "no subsets were published" if data.empty else "M of all samples is not known of any")
        return figure
    axes = figure.subplots()
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for row, entry in enumerate(entries):
        if data.loc[data["checkpoint"] == entry["checkpoint"], "share"].isna().all():
            told = f"M of all samples: {why_missing(entry, entry['M'], 'none above zero')}"
            axes.text(0.01, row, told, va="center", color=GREY, transform=beside)
        for number, size in enumerate(sizes):
            part = data[(data["checkpoint"] == entry["checkpoint"]) & (data["size"] == size)]
            if part.empty:
                continue
            at = row + 0.6 * ((number + 0.5) / len(sizes) - 0.5)
            color, mark = COLORS[number % len(COLORS)], MARKS[number % len(MARKS)]
            axes.plot(
                [part["share"].min(), part["share"].max()], [at, at], color=color, linewidth=0.8, alpha=0.6, zorder=2
            )
            heights = at + _stacked(part["share"], 0.3 / len(sizes))
            axes.plot(part["share"], heights, mark, color=color, markersize=4, markerfacecolor="white", zorder=3)
    axes.axvline(1, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    low = min(1.0, data["share"].min())
    low = max(0.0, (math.ceil(low * 20) - 1) / 20)  # the twentieth below
    high = max(1.0, data["share"].max())
    axes.set_xlim(low, high + 0.03 * (high - low))
    axes.grid(axis="x", linewidth=0.3, alpha=0.6)
    label_rows(axes, entries)
    handles = [
        axes.plot([], [], MARKS[number % len(MARKS)], color=COLORS[number % len(COLORS)], markerfacecolor="white")[0]
        for number in range(len(sizes))
    ]
    figure.legend(handles, [f"{size:,.0f} samples" for size in sizes], loc="outside upper center", ncols=4)
    note = f"\nin italics, {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    axes.set_xlabel(f"M of a random subset by M of all samples{note}")
    return figure


def _stacked(shares: pd.Series, room: float) -> pd.Series:
    """By how much each mark is moved so that equal ones show: one above the other around zero, `room` at most in all."""
    equal = shares.groupby(shares)
    count = equal.transform("size")
    return (equal.cumcount() - (count - 1) / 2) * min(0.07, room / count.max())
