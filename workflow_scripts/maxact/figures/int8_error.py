"""INT-8 reconstruction error along the layers, by clipping policy."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maxact.figures.style import PLANTED_NOTE, logarithmic, mark_planted, nothing, title
from maxact.sites.legend import LEGEND

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DASHES = ("solid", (0, (4, 1.5)), (0, (1.5, 1)), "dashdot")
COMPONENTS = ("attention_output", "gate", "mlp_output", "residual")


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint, a column for each component, on one logarithmic axis; a line for each policy."""
    data = frames["errors.parquet"]
    names = list(data["checkpoint"].unique())
    policies = list(data["policy"].unique())
    figure = Figure(figsize=(style["width_inches"], 1.15 + 1.55 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), len(COMPONENTS), squeeze=False, sharey=True, sharex="row")
    for row, name in enumerate(names):
        entry = data[data["checkpoint"] == name].iloc[0].to_dict()
        for column, component in enumerate(COMPONENTS):
            axes = panels[row][column]
            part = data[(data["checkpoint"] == name) & (data["component"] == component)]
            curves(part, policies, axes)
            if row == 0:
                axes.set_title(LEGEND[component].label)
            axes.set_xlabel("layer" if row == len(names) - 1 else "")
            mark_planted(axes, entry["kind"])
            if row == 0:
                axes.title.set_color("black")
                axes.title.set_fontstyle("normal")
        # A panel is as high as about 24 characters are wide.
        label = "\n".join(textwrap.fill(line, 24) for line in title(entry).split("\n"))
        panels[row][0].set_ylabel(label, fontsize=style["font_size"] - 1)
    handles = [
        figure.axes[0].plot([], [], color=COLORS[i % 4], linestyle=DASHES[i % 4])[0] for i in range(len(policies))
    ]
    labels = [
        "threshold: largest |x|" if policy == "max" else f"threshold: {policy.replace('_', ' ')} of |x|"
        for policy in policies
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(3, len(labels))))
    bits = data["format"].iloc[0].upper() if len(data) else ""
    note = f"\ngrey rows are {PLANTED_NOTE}" if (data["kind"] == "planted").any() else ""
    figure.suptitle(f"{bits} relative RMSE per tensor, evaluation split{note}", fontsize=style["font_size"] - 1)
    return figure


def curves(data: pd.DataFrame, policies: list[str], axes: Axes) -> None:
    """A line for each policy along the layers; an error of zero leaves a gap, a component that is absent says so."""
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    known = data[data["relative_rmse"] > 0]
    if known.empty:
        missing = "no finite activation" if data["relative_rmse"].isna().all() else "no error"
        nothing(axes, "not applicable" if data.empty else missing)
    else:
        last = int(data["layer"].max())
        for number, policy in enumerate(policies):
            part = known[known["policy"] == policy]
            heights = part.set_index(part["layer"].astype(int))["relative_rmse"].reindex(range(last + 1))
            axes.plot(
                heights.index,
                heights,
                color=COLORS[number % 4],
                linestyle=DASHES[number % 4],
                marker="." if last < 12 else None,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
