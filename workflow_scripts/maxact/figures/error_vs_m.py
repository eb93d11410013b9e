"""The quantization error of every format against M, with what the link between the two is said to be."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from maxact.figures.style import (
    PAGE_INCHES,
    decades,
    elsewhere,
    label,
    letters,
    logarithmic,
    message,
    nothing,
    panels,
    without_an_error,
)

_MARKERS = "os^DvP"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_SIGNS = {"rises with M": "\N{UPWARDS ARROW}", "falls with M": "\N{DOWNWARDS ARROW}", "no link seen": "\N{EN DASH}"}
"""Of verdicts that are not the same of all series of a panel; a question mark is of those that cannot be told."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each format with one scale for the tensor, one with finer scales, and one of formats with blocks of their own.

    Real checkpoints alone, a point each. The words below a panel are those of the table `error_link`.
    """
    data = frames["error_vs_M.parquet"]
    shown = data[data["relative_rmse"].notna()]
    if shown.empty:
        figure = Figure(figsize=(style["width_inches"], 1.5), layout="constrained")
        message(
            figure,
            "\n".join(without_an_error(data, shown, data["known"], 80)) or "no real checkpoint in this study",
        )
        return figure
    parts = _parts(data[data["format"].notna()])
    columns = min(2 if len(parts) <= 6 else 3, len(parts))
    rows = -(-len(parts) // columns)
    size = style["font_size"] - 1.5
    line, room = size * 1.4 / 72, (style["width_inches"] / columns - 0.5) * 72 / size
    notes = _notes(data, shown, letters(style))
    margins = 0.3 + line * (notes.count("\n") + 1)
    words = max(_lines(part, columns, room) for _, part in parts) * line
    height = min(margins + rows * (1.9 + words), max(PAGE_INCHES, margins + rows * (1.2 + words)))
    figure = Figure(figsize=(style["width_inches"], height), layout="constrained")
    limits = decades(shown["M"].min(), shown["M"].max())
    for (title, part), axes in zip(parts, panels(figure, len(parts), columns), strict=True):
        axes.set_title(title, loc="left")
        _panel(part, limits, axes, size, _beside(_series(part), columns, room))
    for axes in figure.axes[::columns]:
        axes.set_ylabel("relative RMSE", labelpad=1)
    figure.supxlabel(notes, x=0.02, ha="left", fontsize=style["font_size"] - 1)
    return figure


def _parts(data: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of each panel, and in `way` what a series of it is called."""
    whole, blocks = data["granularity"] == "tensor", data["granularity"] == "block"
    clips = data[~whole].groupby("format")["policy"].nunique() > 1
    both = data["format"].map(clips).fillna(False).astype(bool) & ~whole
    named = data["policy"].where(whole, data["granularity"].mask(blocks, data["format"]))
    named = named.mask(both, named + ", " + data["policy"])
    data = data.assign(way=named.str.replace("_", " ").where(~blocks, named))
    parts = [
        (f"{name}, {what}", data[(data["format"] == name) & rows])
        for name in dict.fromkeys(data["format"])
        for rows, what in ((whole, "one scale"), (~whole & ~blocks, "finer scales"))
    ]
    return [(title, part) for title, part in [*parts, ("formats with blocks", data[blocks])] if len(part)]


def _look(number: int) -> tuple[str, str, bool]:
    """Marker, colour and whether it is filled, of a series by its number: after twelve a marker has the next colour."""
    rounds, place = divmod(number, 2 * len(_MARKERS))
    return _MARKERS[place % len(_MARKERS)], _COLORS[(place + rounds) % len(_COLORS)], place < len(_MARKERS)


def _series(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Names and rows of the series of a panel in their order, with the signs of verdicts where these differ."""
    ways = sorted(part.groupby("way", sort=False), key=lambda item: _order(item[1].iloc[0]))
    if part["verdict"].nunique() == 1:
        return [(str(named), points) for named, points in ways]
    return [(f"{named} {_SIGNS.get(points.iloc[0]['verdict'], '?')}", points) for named, points in ways]


def _beside(series: Sequence[tuple[str, pd.DataFrame]], columns: int, room: float) -> int:
    """How many columns of names have room below one of so many panels.

    Args:
        room: below a panel, in sizes of a letter; one is about 0.55 wide, the mark and what is around it 3.
    """
    names = [name for name, _ in series]
    for count in range(6 // columns, 1, -1):
        split = [column for column in np.array_split(np.array(names), count) if len(column)]
        if sum(3 + 0.55 * max(map(len, column)) for column in split) <= room:
            return count
    return 1


def _lines(part: pd.DataFrame, columns: int, room: float) -> int:
    """Lines of words below a panel."""
    series = _series(part)
    return int(part["verdict"].nunique() == 1) + math.ceil(len(series) / _beside(series, columns, room))


def _notes(data: pd.DataFrame, shown: pd.DataFrame, width: int) -> str:
    """Which checkpoints the points are."""
    order = shown.drop_duplicates("checkpoint").sort_values("M", kind="stable").to_dict("records")
    told = f"from left to right: {', '.join(label(entry, 60) for entry in order)}"
    notes = [
        textwrap.fill(told, width, break_on_hyphens=False),
        elsewhere(shown, width),
        *without_an_error(data, shown, data["known"], width),
    ]
    signs = [f"{sign} {verdict}" for verdict, sign in _SIGNS.items()] if shown["verdict"].nunique() > 1 else []
    signs += ["? cannot be told"] if signs and shown["verdict"].str.startswith("cannot").any() else []
    first = "; ".join(["errors are at the residual site of largest |x|", *signs])
    return "\n".join([first, *filter(None, notes)])


def _panel(part: pd.DataFrame, limits: tuple[float, float], axes: Axes, size: float, beside: int) -> None:
    """The points of one panel, and below the axis the verdict on each series, so many beside each other."""
    known = part[part["relative_rmse"].notna()]
    if known.empty:
        nothing(axes, "no error above zero")
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(*decades(known["relative_rmse"].min() / 1.1, known["relative_rmse"].max() * 1.1))
    logarithmic(axes.xaxis)
    logarithmic(axes.yaxis)
    axes.grid(linewidth=0.3, alpha=0.6)
    axes.set_xlabel("M, the largest |x|", labelpad=1)
    verdicts = part["verdict"].unique()
    series = _series(part)
    for number, (told, points) in enumerate(series):
        marker, color, filled = _look(number)
        face = color if filled else "none"
        axes.plot(points["M"], points["relative_rmse"], marker, markersize=3.5, color=color, alpha=0.85, clip_on=False,
                  markerfacecolor=face, markeredgewidth=0 if face == color else 0.8, label=told)  # fmt: skip
    figure = axes.get_figure(root=True)
    assert figure is not None
    # A fixed distance, so that the layout knows it whatever the panel's height: names of ticks, and the axis's own.
    below = axes.transAxes + ScaledTranslation(0, -4.2 * size / 72, figure.dpi_scale_trans)
    head = _link(part.iloc[0]) if len(series) == 1 else verdicts[0] if len(verdicts) == 1 else None
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0, fontsize=size, handletextpad=0.2,
                ncols=beside, columnspacing=0.8, borderpad=0,
                title=head, title_fontsize=size, alignment="left")  # fmt: skip


def _order(row: pd.Series) -> tuple[int, int, int]:
    """From the widest group to the narrowest; policies as they are documented."""
    granularity, policy = row["granularity"], row["policy"]
    size = re.search(r"\d+", granularity)
    kind = ["tensor", "sample", "channel", "token", "group", "block"].index(granularity.split("_")[0])
    return kind, -int(size[0]) if size else 0, ["max", "quantile", "mse", "entropy"].index(policy.split("_")[0])


def _link(row: pd.Series) -> str:
    """The verdict, and the numbers that it is made from."""
    if row["verdict"].startswith("cannot"):
        return str(row["verdict"])
    return f"{row['verdict']} (Spearman {row['spearman']:.2f}; Holm's p of families {row['p_holm']:.2g})"
