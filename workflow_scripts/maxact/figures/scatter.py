"""Scatter plots whose points are named beside the panel: no two names overlap, no two lines from name to point cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from maxact.figures.families import family_color
from maxact.figures.style import GREY, label

BESIDE = 1.06
"""Where names begin, in widths of the panel."""


@dataclass(frozen=True)
class Point:
    """A point to be named.

    Attributes:
        x, y: in the data's units.
        name: what is written beside the panel.
        color: of the mark and of the line to the name.
        planted: an open mark, the name in grey italics.
    """

    x: float
    y: float
    name: str
    color: str
    planted: bool = False


def checkpoint_points(data: pd.DataFrame, x: str, y: str) -> list[Point]:
    """A point for each row with checkpoint, family, kind, weights, nonfinite and the columns `x` and `y`."""
    return [
        Point(entry[x], entry[y], label(entry, 60), family_color(str(entry["family"])), entry["kind"] == "planted")
        for entry in data.to_dict("records")
    ]


def draw_named(points: Sequence[Point], axes: Axes, gap: float) -> None:
    """Draw points, each with its name right of the panel and a thin line to it.

    Args:
        points: the limits of `axes` hold them all.
        axes: whose limits and scales are set.
        gap: least distance between names, as a share of the panel's height.
    """
    where = [_in_panel(axes, point.x, point.y) for point in points]
    for point, place in zip(points, places_of_names(where, gap), strict=True):
        face = "white" if point.planted else point.color
        axes.plot([point.x], [point.y], "o", markersize=4, color=point.color, markerfacecolor=face, zorder=3)
        axes.annotate(
            point.name,
            xy=(point.x, point.y),
            xytext=(BESIDE, place),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            color=GREY if point.planted else "black",
            fontstyle="italic" if point.planted else "normal",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": point.color, "alpha": 0.7, "shrinkA": 1,
                        "shrinkB": 2, "relpos": (0, 0.5)},
        )  # fmt: skip


def places_of_names(points: Sequence[tuple[float, float]], gap: float) -> list[float]:
    """The height of each point's name, in heights of the panel, so that no two straight lines to the points cross.

    Two names whose lines cross change places until none do. Each change makes the two lines together shorter, so that it ends.
    No stretching of the panel makes lines cross or uncross.

    Args:
        points: across and up, in widths and heights of the panel, all left of `BESIDE`.
        gap: least distance between names.
    """
    order = sorted(range(len(points)), key=lambda at: (points[at][1], -points[at][0]))
    places = dict(zip(order, spread([points[at][1] for at in order], gap), strict=True))
    crossing = True
    while crossing:
        crossing = False
        for at, one in enumerate(order):
            for other in order[:at]:
                if cross(points[one], places[one], points[other], places[other]):
                    places[one], places[other] = places[other], places[one]
                    crossing = True
    return [places[at] for at in range(len(points))]


def cross(one: tuple[float, float], place: float, other: tuple[float, float], place_of_other: float) -> bool:
    """Whether the lines from two points to their names cross: which is above differs at the names and at the nearer point."""
    if one[0] < other[0]:
        one, place, other, place_of_other = other, place_of_other, one, place
    share = (one[0] - other[0]) / (BESIDE - other[0])
    above = one[1] - (other[1] + share * (place_of_other - other[1]))
    return above * (place - place_of_other) < 0 and not math.isclose(above, 0, abs_tol=1e-9)


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


def _in_panel(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a point is, in widths and heights of the panel."""
    across, up = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    return float(across), float(up)
