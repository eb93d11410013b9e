"""INT-8 reconstruction error along the layers, by clipping policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from maxact.figures.style import GREY, PLANTED_NOTE, decades, label_rows, logarithmic, message, row_height
from maxact.sites.legend import LEGEND

COMPONENTS = ("attention_output", "gate", "mlp_output", "residual")


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A block for each policy; in it a row for each checkpoint, a panel for each component, a cell for each layer."""
    data = frames["errors.parquet"]
    entries = data.drop_duplicates("checkpoint").to_dict("records")
    policies = list(data["policy"].unique())
    margin = style["font_size"] / 8  # inches for titles and axes grow with the letters
    height = 0.5 * margin + row_height(entries, style["font_size"] - 1) * len(entries)
    figure = Figure(
        figsize=(style["width_inches"], 0.7 * margin + height * max(1, len(policies))), layout="constrained"
    )
    known = data["relative_rmse"][data["relative_rmse"] > 0]
    if not policies:
        message(figure, "no policy in this study")
        return figure
    # Without a single error above zero any limits will do: nothing is coloured.
    norm = LogNorm(*decades(known.min(), known.max())) if len(known) else LogNorm(0.1, 1)
    grid = figure.subplots(len(policies), len(COMPONENTS), squeeze=False, sharex=True, sharey=True)
    for policy, line in zip(policies, grid, strict=True):
        for component, axes in zip(COMPONENTS, line, strict=True):
            part = data[(data["policy"] == policy) & (data["component"] == component)]
            for row, entry in enumerate(entries):
                layers = data["layer"][data["checkpoint"] == entry["checkpoint"]].max()
                cells(part[part["checkpoint"] == entry["checkpoint"]], int(layers) + 1, row, norm, axes)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        label_rows(line[0], entries)
        line[0].set_title(f"threshold: {'largest |x|' if policy == 'max' else policy.replace('_', ' ') + ' of |x|'}\n"
                          + LEGEND[COMPONENTS[0]].label, loc="left")  # fmt: skip
        for component, axes in zip(COMPONENTS[1:], line[1:], strict=True):
            axes.set_title(LEGEND[component].label, loc="left")
    bits = data["format"].dropna().iloc[0].upper() if data["format"].notna().any() else ""
    note = f"\nin italics, {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    figure.supxlabel(f"relative depth{note}", fontsize=style["font_size"] - 1)
    if len(known):
        bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=grid, location="top", aspect=60, shrink=0.6, pad=0.01)
        bar.set_label(f"{bits} relative RMSE per tensor, evaluation split")
        logarithmic(bar.ax.xaxis)
    return figure


def cells(data: pd.DataFrame, layers: int, row: int, norm: LogNorm, axes: Axes) -> None:
    """One row of cells over relative depth; an error of zero leaves a gap, a component that is absent says so."""
    known = data[data["relative_rmse"] > 0]
    if known.empty:
        missing = "no finite activation" if data["relative_rmse"].isna().all() else "no error"
        text = "not applicable" if data.empty else missing
        axes.text(0.5, row, text, ha="center", va="center", color=GREY, fontsize="small")
        return
    heights = known.set_index(known["layer"].astype(int))["relative_rmse"].reindex(range(layers))
    edges = np.linspace(0, 1, layers + 1)
    values = np.ma.masked_invalid(heights.to_numpy(dtype=float))[None, :]
    axes.pcolormesh(edges, [row - 0.42, row + 0.42], values, norm=norm, cmap="viridis")
