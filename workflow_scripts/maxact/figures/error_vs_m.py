"""The quantization error of every format against M, with what the link between the two is said to be."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from maxact.figures.style import decades, elsewhere, label, logarithmic, message, nothing, panels

_LOOKS = (("o", "#0072B2"), ("s", "#D55E00"), ("^", "#009E73"), ("D", "#CC79A7"), ("v", "#E69F00"), ("P", "#000000"))


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each format with a scale for the whole tensor, and one with finer scales, where the study has them.

    Real checkpoints alone, a point each. The words below a panel are those of the table `error_link`.
    """
    data = frames["error_vs_M.parquet"]
    shown = data[data["M"].notna()]
    if shown.empty:
        figure = Figure(figsize=(style["width_inches"], 1.5), layout="constrained")
        message(figure, _left_out(data, shown, 80) or "no real checkpoint in this study")
        return figure
    parts = [
        (f"{name}, {what}", data[(data["format"] == name) & (whole == (data["granularity"] == "tensor"))])
        for name in dict.fromkeys(data["format"])
        for whole, what in ((True, "a scale for the whole tensor"), (False, "finer scales"))
    ]
    parts = [(title, part) for title, part in parts if len(part)]
    lines = max(len(part[["granularity", "policy"]].drop_duplicates()) for _, part in parts)
    line = (style["font_size"] - 1) * 1.35 / 72
    columns = min(2, len(parts))
    notes = _notes(data, shown, int(130 * style["width_inches"] / style["font_size"]))
    height = 0.4 + (1.7 + line * (lines + 1)) * -(-len(parts) // columns) + line * (notes.count("\n") + 1)
    figure = Figure(figsize=(style["width_inches"], height), layout="constrained")
    limits = decades(shown["M"].min(), shown["M"].max())
    width = int(104 // columns * style["width_inches"] / style["font_size"])
    for (title, part), axes in zip(parts, panels(figure, len(parts), columns), strict=True):
        axes.set_title(title, loc="left")
        axes.set_ylabel("relative RMSE")
        _panel(part, limits, axes, width, style["font_size"] - 1.5)
    figure.supxlabel(notes, x=0.02, ha="left", fontsize=style["font_size"] - 1)
    return figure


def _notes(data: pd.DataFrame, shown: pd.DataFrame, width: int) -> str:
    """Which checkpoints the points are."""
    order = shown.drop_duplicates("checkpoint").sort_values("M", kind="stable").to_dict("records")
    told = f"from left to right: {', '.join(label(entry, 60) for entry in order)}"
    notes = [textwrap.fill(told, width, break_on_hyphens=False), elsewhere(shown, width), _left_out(data, shown, width)]
    return "\n".join(["errors are at the residual site of largest |x|", *filter(None, notes)])


def _left_out(data: pd.DataFrame, shown: pd.DataFrame, width: int) -> str:
    """Real checkpoints that have no point anywhere."""
    out = data[~data["checkpoint"].isin(shown["checkpoint"])].drop_duplicates("checkpoint").to_dict("records")
    told = f"left out, no finite M or no error above zero: {', '.join(label(entry, 60) for entry in out)}"
    return textwrap.fill(told, width, break_on_hyphens=False) if out else ""


def _panel(part: pd.DataFrame, limits: tuple[float, float], axes: Axes, width: int, size: float) -> None:
    """The points of one format, and below the axis a line of words for each series."""
    known = part[part["M"].notna()]
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
    verdicts, clips = part["verdict"].unique(), part["policy"].nunique() > 1
    ways = sorted(part.groupby(["granularity", "policy"], sort=False), key=lambda item: _order(*item[0]))
    for number, ((granularity, policy), points) in enumerate(ways):
        marker, color = _LOOKS[number % len(_LOOKS)]
        face = color if number < len(_LOOKS) else "none"
        named = policy if granularity == "tensor" else f"{granularity}, {policy}" if clips else granularity
        named = named.replace("_", " ")
        told = f"{named}: {_link(points.iloc[0])}" if len(verdicts) > 1 else named
        told = textwrap.fill(told, width, subsequent_indent="  ")
        axes.plot(points["M"], points["relative_rmse"], marker, markersize=3.5, color=color, alpha=0.85,
                  markerfacecolor=face, markeredgewidth=0 if face == color else 0.8, label=told)  # fmt: skip
    figure = axes.get_figure(root=True)
    assert figure is not None
    # A fixed distance, so that the layout knows it whatever the panel's height: names of ticks, and the axis's own.
    below = axes.transAxes + ScaledTranslation(0, -4.2 * size / 72, figure.dpi_scale_trans)
    head = _link(part.iloc[0]) if len(ways) == 1 else verdicts[0] if len(verdicts) == 1 else None
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0, fontsize=size, handletextpad=0.2,
                ncols=1 if len(verdicts) > 1 else 4, columnspacing=0.8, borderpad=0,
                title=head, title_fontsize=size, alignment="left")  # fmt: skip


def _order(granularity: str, policy: str) -> tuple[int, int, int]:
    """From the widest group to the narrowest; policies as they are documented."""
    size = re.search(r"\d+", granularity)
    kind = ["tensor", "sample", "channel", "token", "group", "block"].index(granularity.split("_")[0])
    return kind, -int(size[0]) if size else 0, ["max", "quantile", "mse", "entropy"].index(policy.split("_")[0])


def _link(row: pd.Series) -> str:
    """The verdict, and the numbers that it is made from."""
    if row["verdict"].startswith("cannot"):
        return str(row["verdict"])
    return f"{row['verdict']} (Spearman {row['spearman']:.2f}; Holm's p of families {row['p_holm']:.2g})"
