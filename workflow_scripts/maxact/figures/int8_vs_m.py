"""INT-8 error at the peak of the residual stream against M."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.scatter import checkpoint_points, draw_named
from maxact.figures.style import (
    PLANTED_NOTE,
    decades,
    elsewhere,
    letters,
    logarithmic,
    message,
    nothing,
    without_an_error,
)


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A panel for each policy; a point for each checkpoint with M and an error above zero, others named in words."""
    data = frames["int8_vs_M.parquet"]
    shown = data[(data["M"] > 0) & (data["relative_rmse"] > 0)]
    policies = list(data["policy"].dropna().unique())
    count = shown["checkpoint"].nunique()
    line = (style["font_size"] - 1) * 1.3 / 72
    height = max(1.8, line * count)
    figure = Figure(figsize=(style["width_inches"], 0.8 + (0.5 + height) * max(1, len(policies))), layout="constrained")
    if shown.empty:
        message(figure, "\n".join(without_an_error(data, shown, data["format"].notna(), letters(style))))
        return figure
    grid = figure.subplots(len(policies), 1, squeeze=False, sharex=True, sharey=True)
    for policy, axes in zip(policies, grid[:, 0], strict=True):
        part = shown[shown["policy"] == policy]
        axes.set_title(
            f"threshold: {'largest |x|' if policy == 'max' else policy.replace('_', ' ') + ' of |x|'}", loc="left"
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*decades(shown["M"].min(), shown["M"].max()))
        if part.empty:
            nothing(axes, "no error above zero")
            continue
        # The same for all, as policies are set against each other.
        axes.set_ylim(*decades(shown["relative_rmse"].min() / 1.1, shown["relative_rmse"].max() * 1.1))
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        axes.grid(linewidth=0.3, alpha=0.6)
        draw_named(checkpoint_points(part, "M", "relative_rmse"), axes, line / height)
    width = letters(style)
    notes = without_an_error(data, shown, data["format"].notna(), width)
    notes += filter(None, [elsewhere(shown, width)])
    notes += [f"grey and in italics, {PLANTED_NOTE}"] if (data["kind"] == "planted").any() else []
    figure.supxlabel("\n".join(["M, the largest |x|", *notes]), fontsize=style["font_size"] - 1)
    bits = shown["format"].iloc[0].upper()
    figure.supylabel(f"{bits} relative RMSE at the residual site of largest |x|", fontsize=style["font_size"])
    return figure
