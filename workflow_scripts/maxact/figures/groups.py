"""One question of the study: the residual streams of the members of each group along the relative depth, and their M."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maxact.figures.families import DASHES, member_colors
from maxact.figures.style import (
    GREY,
    PAGE_INCHES,
    PLANTED_NOTE,
    between_gaps,
    decades,
    label,
    logarithmic,
    nothing,
    why_missing,
    with_gaps,
)
from maxact.results.absent import NOT_AVAILABLE

M_MARK = "D"


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each group: over it the verdict, beside it the members with M and its site.

    Args:
        frames: `comparisons` and `residual_by_depth`, with the rows of one question, which has a group.
        style: of the study.
    """
    data, streams = frames["comparisons.parquet"], frames["residual_by_depth.parquet"]
    groups = [part.to_dict("records") for _, part in data.dropna(subset="group").groupby("group", sort=False)]
    line = (style["font_size"] - 1) * 1.3 / 72
    letters = int((style["width_inches"] - 1.1) * 72 / (0.56 * style["font_size"]))  # right of the names of ticks
    heads = [_head(group[0], letters) for group in groups]
    names = [[_named(entry) for entry in group] for group in groups]
    least = [line * (sum(name.count("\n") + 1 for name in named) + 1) for named in names]
    margins = 0.75 + sum((head.count("\n") + 1) * line * 1.2 + 0.1 for head in heads)
    room = (PAGE_INCHES - margins) / len(groups)
    heights = [max(min(room, 1.35), inches, 0.6) for inches in least]
    figure = Figure(figsize=(style["width_inches"], margins + sum(heights)), layout="constrained")
    grid = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, sharey=True, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    known = pd.concat([data["M"], streams["peak"]])
    known = known[known > 0]
    limits = decades(known.min() / 1.2, known.max() * 1.2) if len(known) else (0.1, 10.0)
    for axes, group, head, named in zip(grid, groups, heads, names, strict=True):
        axes.set_title(head, loc="left")
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        logarithmic(axes.yaxis)
        _group(group, streams[streams["group"] == group[0]["group"]], named, axes)
    grid[-1].set_xlim(-0.02, 1.02)
    notes = [
        "relative depth: 0 the embedding, (layer + 1) / layers, 1 the final norm; lines: residual stream; diamonds: M"
    ]
    notes += [f"open marks and italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join(notes), fontsize=style["font_size"] - 1)
    figure.supylabel("largest |x|", fontsize=style["font_size"])
    return figure


def _group(group: Sequence[Mapping[str, Any]], streams: pd.DataFrame, named: Sequence[str], axes: Axes) -> None:
    """The lines of one group, a diamond at the depth and value of each M, and the members beside the panel.

    Later diamonds are smaller, so that those at one place show in each other.
    """
    colors = member_colors(["" if pd.isna(entry["family"]) else str(entry["family"]) for entry in group])
    handles = []
    for number, (entry, color) in enumerate(zip(group, colors, strict=True)):
        face = "white" if entry["kind"] == "planted" else color
        dash = DASHES[number % len(DASHES)]
        part = with_gaps(streams[streams["checkpoint"] == entry["checkpoint"]])
        heights = part["peak"].where(part["peak"] > 0)
        marks = heights.notna() if entry["kind"] == "planted" else between_gaps(heights)
        axes.plot(part["relative_depth"], heights, color=color, linestyle=dash, marker="o" if marks.any() else None,
                  markevery=marks.tolist(), markersize=2.5, markerfacecolor=face)  # fmt: skip
        if entry["M"] > 0:
            axes.plot([entry["relative_depth"]], [entry["M"]], M_MARK, color=color, markersize=max(3.0, 6.5 - 1.2 * number),
                      markerfacecolor=face, markeredgecolor=color if entry["kind"] == "planted" else "white",
                      markeredgewidth=0.5, clip_on=False, zorder=3)  # fmt: skip
        gone = entry["kind"] == NOT_AVAILABLE
        handles.append(Line2D([], [], color="none" if gone else color, linestyle=dash))
    if not any(entry["M"] > 0 for entry in group) and not (streams["peak"] > 0).any():
        reasons = [why_missing(entry, entry["M"], "no finite activation above zero") for entry in group]
        nothing(axes, "\n".join(dict.fromkeys(reasons)))
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    legend = axes.legend(
        handles, named, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, handlelength=2.2
    )
    for text, entry in zip(legend.get_texts(), group, strict=True):
        text.set_fontstyle("normal" if entry["kind"] == "real" else "italic")
        text.set_color(GREY if entry["kind"] == NOT_AVAILABLE else "black")


def _named(entry: Mapping[str, Any]) -> str:
    """A member with M and where it stands: on one line, if it is short."""
    if pd.isna(entry["M"]):
        value = why_missing(entry, entry["M"], "nothing finite")
    else:
        value = f"{entry['M']:,.4g}" if entry["M"] < 1000 else f"{entry['M']:,.0f}"
        value += "" if pd.isna(entry["component"]) else f", {_site(entry)}"
    name = label(entry, 44)
    return f"{name}: {value}" if len(name) + len(value) < 44 and "\n" not in name else f"{name}:\n{value}"


def _site(entry: Mapping[str, Any]) -> str:
    return str(entry["component"]) + ("" if pd.isna(entry["layer"]) else f"@{int(entry['layer'])}")


def _head(entry: Mapping[str, Any], letters: int) -> str:
    return textwrap.fill(f"{entry['group']}: {entry['verdict']}", letters, break_on_hyphens=False)
