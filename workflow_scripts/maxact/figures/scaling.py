"""M against the number of parameters, a line for each family that the study compares."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from maxact.figures.families import DASHES, member_colors
from maxact.figures.style import PLANTED_NOTE, decades, label, left_out, letters, logarithmic, message, without_a_point
from maxact.results.absent import NOT_AVAILABLE

MARKS = ("o", "s", "^", "D", "v", "P", "X")


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """One panel: a line with marks for each group of the question `scaling`, from its smallest member to its largest."""
    every = frames["comparisons.parquet"]
    every = every[(every["question"] == "scaling") & every["checkpoint"].notna()]
    data = every[(every["M"] > 0) & (every["parameters"] > 0)]
    figure = Figure(figsize=(style["width_inches"], 0.6 * style["width_inches"]), layout="constrained")
    groups = [part for _, part in data.groupby("group", sort=False) if len(part) > 1]
    width = letters(style)
    if not groups:
        gone = left_out(every[every["kind"] == NOT_AVAILABLE], "", width)
        message(figure, "\n".join(["no family of several sizes in this study", *gone]))
        return figure
    axes = figure.subplots()
    colors = member_colors([str(part["family"].iloc[0]) for part in groups])
    for number, (part, color) in enumerate(zip(groups, colors, strict=True)):
        planted = (part["kind"] == "planted").any()
        billions = part["parameters"].astype(float) / 1e9
        axes.plot(
            billions,
            part["M"],
            marker=MARKS[number % len(MARKS)],
            color=color,
            linestyle=DASHES[number % len(DASHES)],
            markerfacecolor="white" if planted else color,
            label=part["group"].iloc[0],
        )
    shown = pd.concat(groups)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = shown["parameters"].astype(float) / 1e9
    axes.set_xlim(sizes.min() / 1.5, sizes.max() * 1.5)
    axes.set_ylim(*decades(shown["M"].min(), shown["M"].max()))
    logarithmic(axes.xaxis)
    if sizes.max() < 1000 * sizes.min():  # few decades: 2 and 5 of each are named too
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    logarithmic(axes.yaxis)
    axes.grid(linewidth=0.3, alpha=0.6)
    figure.legend(loc="outside right upper")
    note = f"\nopen marks, {PLANTED_NOTE}" if (shown["kind"] == "planted").any() else ""
    axes.set_xlabel(f"parameters, billions{note}")
    real = shown[shown["kind"] == "real"].drop_duplicates("checkpoint").to_dict("records")
    special = [label(entry, 60) for entry in real if label(entry, 60) != entry["checkpoint"]]
    told = [textwrap.fill(f"among them: {', '.join(special)}", width, break_on_hyphens=False)] if special else []
    told += without_a_point(every, shown, "no M above zero, or no other size with one", width)
    if told:
        figure.supxlabel("\n".join(told), fontsize=style["font_size"] - 1)
    axes.set_ylabel("M, the largest |x|")
    return figure
