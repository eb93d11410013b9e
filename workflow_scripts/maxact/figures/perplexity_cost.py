"""Perplexity with quantized activations, by that without, against the median SQNR of what was quantized."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from maxact.figures.scatter import Point, draw_named
from maxact.figures.style import columns_for, height_for, left_out, letters, message, name_panel, nothing, panels
from maxact.results.absent import NOT_AVAILABLE

COLOR = "#0072B2"
RATIO = "perplexity by that without quantization"
NO_POINT = "no point: see the table"
_LOOKS = [*itertools.product("os^", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"))]
"""Of quantizers in a legend: marker and colour."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each checkpoint; one or two have the quantizers named beside them, more have a legend.

    A quantizer without a stored error or without a finite perplexity has no point: beside one or two panels it is named in
    words, and the table has it for all.
    """
    data = frames["perplexity.parquet"]
    quantized = data[(data["format"] != "none") & (data["kind"] != NOT_AVAILABLE)]
    names = list(quantized["checkpoint"].unique())
    width = letters(style)
    gone = left_out(data[data["kind"] == NOT_AVAILABLE], "", width, "ratio")
    if not names:
        figure = Figure(figsize=(style["width_inches"], 1.5), layout="constrained")
        asked = "the study asks no checkpoint for its perplexity with quantized activations"
        message(figure, "\n".join(gone) or asked)
        return figure
    alike = quantized["tensors"].nunique() == 1
    quantized = quantized.assign(named=[_named(row, not alike) for row in quantized.to_dict("records")])
    what = _words(quantized["tensors"].iloc[0]) if alike else "sites"
    label = f"median SQNR of the quantized {what}, dB"
    figure = _few(quantized, names, label, style) if len(names) <= 2 else _many(quantized, names, label, style)
    if gone:
        figure.supxlabel("\n".join([figure.get_supxlabel(), *gone]).strip(), fontsize=style["font_size"] - 1)
    return figure


def _few(quantized: pd.DataFrame, names: list[str], label: str, style: Mapping[str, float]) -> Figure:
    line = style["font_size"] * 1.3 / 72
    height = max(1.8, line * (int(quantized.groupby("checkpoint").size().max()) + 1))
    figure = Figure(figsize=(style["width_inches"], 0.3 + (1.1 + height) * len(names)), layout="constrained")
    for name, axes in zip(names, panels(figure, len(names), 1), strict=True):
        part = quantized[quantized["checkpoint"] == name]
        name_panel(axes, part.iloc[0].to_dict(), 1)
        shown = _shown(part)
        if shown.empty:
            nothing(axes, NO_POINT)
        else:
            _scales(axes, shown)
            named = [Point(row.median_sqnr_db, row.ratio, row.named, COLOR) for row in shown.itertuples()]
            draw_named(named, axes, line / height)
        told = [_in_words(row) for row in part.drop(shown.index).itertuples()]
        axes.set_xlabel("\n".join([label, *told]))
    figure.supylabel(RATIO, fontsize=style["font_size"])
    return figure


def _many(quantized: pd.DataFrame, names: list[str], label: str, style: Mapping[str, float]) -> Figure:
    columns, every = columns_for(len(names)), _shown(quantized)
    looks = dict(zip(every["named"].unique(), itertools.cycle(_LOOKS)))
    legend = 0.18 * -(-len(looks) // 3)
    figure = Figure(figsize=(style["width_inches"], height_for(len(names), 0.8 + legend)), layout="constrained")
    for name, axes in zip(names, panels(figure, len(names), columns), strict=True):
        part = quantized[quantized["checkpoint"] == name]
        name_panel(axes, part.iloc[0].to_dict(), columns)
        shown = _shown(part)
        if shown.empty:
            nothing(axes, NO_POINT)
            continue
        _scales(axes, every)
        for row in shown.itertuples():
            marker, color = looks[row.named]
            axes.plot([row.median_sqnr_db], [row.ratio], marker, markersize=4, color=color)
    figure.supylabel(RATIO, fontsize=style["font_size"])
    figure.supxlabel(label, fontsize=style["font_size"])
    handles = [Line2D([], [], linestyle="", marker=look[0], color=look[1], markersize=4) for look in looks.values()]
    figure.legend(handles, list(looks), loc="outside upper center", ncols=3)
    return figure


def _named(row: Mapping[Any, Any], tensors: bool) -> str:
    """A quantizer in one phrase."""
    of = {"tensor": row["policy"], "block": "blocks"}.get(row["granularity"], f"by {row['granularity']}")
    told = row["format"] if of == "none" else f"{row['format']}, {of}"
    told += "" if row["granularity"] == "tensor" or row["policy"] == "max" else f", {row['policy']}"
    told += "" if math.isnan(row["smooth"]) else f", smoothed ({row['smooth']:g})"
    return f"{told} ({_words(row['tensors'])})" if tensors else told


def _words(tensors: str) -> str:
    return tensors.replace("_", " ")


def _in_words(row: Any) -> str:
    """A quantizer that has no point."""
    if math.isnan(row.ratio):
        return f"{row.named}: {row.note}"
    why = "exact at half of the sites or more" if row.median_sqnr_db == math.inf else "no stored error"
    return f"{why}: {row.named}, {row.ratio:.4g}"


def _shown(part: pd.DataFrame) -> pd.DataFrame:
    return part[part["ratio"].notna() & part["median_sqnr_db"].abs().lt(math.inf)]


def _scales(axes: Axes, shown: pd.DataFrame) -> None:
    """Set both axes so that they hold these points."""
    low, high = shown["median_sqnr_db"].min(), shown["median_sqnr_db"].max()
    margin = max(1.0, (high - low) * 0.06)
    axes.set_xlim(low - margin, high + margin)
    axes.set_yscale("log")
    largest = max(1.1, shown["ratio"].max())
    axes.set_ylim(min(0.97, shown["ratio"].min() / 1.03), largest * largest**0.05)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if largest > 2 else (1.0, 1.05, 1.1, 1.2, 1.5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(1.0, color="#999999", linewidth=0.6, linestyle="--")
    axes.grid(linewidth=0.3, alpha=0.6)
