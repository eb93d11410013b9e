"""Scatter plots whose points are named beside the panel, so that no two names overlap."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from maxact.figures.style import GREY, label

COLOR = "#0072B2"


def named_points(data: pd.DataFrame, x: str, y: str, axes: Axes, gap: float) -> None:
    """Draw a point for each row, and its checkpoint's name right of the panel with a thin line to the point.

    Args:
        data: rows with checkpoint, kind, weights, nonfinite and the two columns; the limits of `axes` hold them all.
        x, y: the columns.
        axes: whose limits and scales are set.
        gap: least distance between names, as a share of the panel's height.
    """
    points = data.assign(height=[_height(axes, *point) for point in zip(data[x], data[y], strict=True)])
    # Names of points of one height go up from a low one and down from a high one: in this order their lines do not cross.
    points["across"] = points[x].where(points["height"] > 0.5, -points[x])
    points = points.sort_values(["height", "across", "checkpoint"])
    places = spread(points["height"].tolist(), gap)
    for entry, place in zip(points.to_dict("records"), places, strict=True):
        planted = entry["kind"] == "planted"
        color = GREY if planted else COLOR
        axes.plot(
            [entry[x]],
            [entry[y]],
            "o",
            markersize=4,
            color=color,
            markerfacecolor="white" if planted else color,
            zorder=3,
        )
        axes.annotate(
            label(entry, width=60),
            xy=(entry[x], entry[y]),
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            color=GREY if planted else "black",
            fontstyle="italic" if planted else "normal",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "linewidth": 0.35, "color": "#aaaaaa", "shrinkA": 1, "shrinkB": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising places at least `gap` apart, near the rising `heights`, from 0 to 1 as far as there is room."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + gap) if places else max(height, 0.0))
    highest = max(1.0, gap * (len(places) - 1))
    for at in range(len(places) - 1, -1, -1):
        places[at] = min(places[at], highest)
        highest = places[at] - gap
    return places


def _height(axes: Axes, x: float, y: float) -> float:
    """Where a point is in the panel's height, from 0 to 1."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1])
