"""SQNR of every format along the layers, for one kind of tensor: a panel for each format, a row for each checkpoint."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from maxact.figures.style import GREY, PLANTED_NOTE, label_rows, left_out, letters, message, row_height
from maxact.results.absent import NOT_AVAILABLE

HIGHEST = 50.0
"""dB at which the colours end: more is as good as exact for a reader."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """The figure. Formats that are exact wherever they are known, or known nowhere, are named below and not drawn."""
    data = frames["error_by_site.parquet"]
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    tensors = next(iter(data["tensors"].dropna()), "")
    known = data[data["sqnr_db"].notna()].groupby("format", sort=False)["sqnr_db"].min()
    formats = [name for name, least in known.items() if least < np.inf]
    others = {
        "exact at every site": [name for name in known.index if name not in formats],
        "not defined at any site": [name for name in data["format"].dropna().unique() if name not in known],
    }
    notes = [
        textwrap.fill(f"{why}: {', '.join(names)}", letters(style), break_on_hyphens=False)
        for why, names in others.items()
        if names
    ]
    margin = style["font_size"] / 8
    height = row_height(entries, style["font_size"] - 1, 28) * len(entries) if formats else 0.0
    figure = Figure(figsize=(style["width_inches"], 1.6 * margin + height), layout="constrained")
    if not formats:
        notes = notes if len(known) else left_out(data, "no finite activation", letters(style), "sqnr_db")
        told = "\n".join(notes)
        message(figure, f"{tensors}: {'not measured' if data['format'].isna().all() else told}")
        return figure
    norm = Normalize(0, HIGHEST)
    colours = matplotlib.colormaps["viridis"].with_extremes(under="#D55E00")
    grid = figure.subplots(1, len(formats), squeeze=False, sharex=True, sharey=True)[0]
    for format, axes in zip(formats, grid, strict=True):
        part = data[data["format"] == format]
        for row, entry in enumerate(entries):
            if entry["kind"] == NOT_AVAILABLE:
                continue
            _cells(part[part["checkpoint"] == entry["checkpoint"]], entry, row, norm, colours, axes)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 1], ["0", "1"])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(str(format).replace("_asymmetric", "\nasymmetric").replace("fp8_", "FP8\n"), fontsize="small")
    label_rows(grid[0], entries, 28)
    for row, entry in enumerate(entries):
        if entry["kind"] == NOT_AVAILABLE:  # once, as no panel of the row has anything
            grid[0].text(0, row, NOT_AVAILABLE, va="center", color=GREY)
    notes += [f"in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join(["relative depth", *notes]), fontsize=style["font_size"] - 1)
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=list(grid), location="top", aspect=60, shrink=0.6, pad=0.01, extend="both"
    )
    bar.set_label(f"{tensors}: SQNR in dB; orange: below 0, or overflow")
    return figure


def _cells(data: pd.DataFrame, entry: Mapping[Any, Any], row: int, norm: Normalize, colours: Any, axes: Axes) -> None:
    """One row of cells over relative depth; what is not known leaves a gap, and says so where nothing is."""
    known = data[data["sqnr_db"].notna()]
    if known.empty:
        text = "no sites" if data.empty else "not finite"
        axes.text(0.5, row, text, ha="center", va="center", color=GREY, fontsize=matplotlib.rcParams["font.size"] - 2)
        return
    layers = int(entry["layers"])
    values = known.set_index(known["layer"].astype(int))["sqnr_db"].clip(-1, HIGHEST).reindex(range(layers))
    edges = np.linspace(0, 1, layers + 1)
    shown = np.ma.masked_invalid(values.to_numpy(dtype=float))[None, :]
    axes.pcolormesh(edges, [row - 0.42, row + 0.42], shown, norm=norm, cmap=colours)
