"""One style for all figures, and how they are written so that the same data give the same bytes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, NullFormatter

PLANTED_HATCH = "////"
PLANTED_NOTE = "planted: one activation put in on purpose; says nothing about released models"
GREY = "#666666"
UNTOLD = ("as released", "as published")
"""Weights that rows and panels say nothing of: the caption does."""


@contextmanager
def styled(style: Mapping[str, float]) -> Iterator[None]:
    """Matplotlib's settings for one figure."""
    size = style["font_size"]
    settings: dict[Any, Any] = {
        "font.size": size,
        "axes.titlesize": size,
        "axes.labelsize": size,
        "xtick.labelsize": size - 1,
        "ytick.labelsize": size - 1,
        "legend.fontsize": size - 1,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same on any machine
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.2,
        "legend.frameon": False,
        "pdf.fonttype": 42,  # TrueType: text stays text
        "svg.hashsalt": "maxact",
        "text.parse_math": False,  # names are text, whatever they hold
    }
    with matplotlib.rc_context(settings):
        yield


def save(figure: Figure, folder: Path, name: str, dots_per_inch: float) -> dict[str, Path]:
    """Write `name`.pdf and `name`.png, without times or versions in them."""
    files = {f"{name}.{suffix}": folder / f"{name}.{suffix}" for suffix in ("pdf", "png")}
    nothing: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    for file in files.values():
        figure.savefig(file, dpi=dots_per_inch, metadata=nothing[file.suffix[1:]])
    return files


class Decades(Locator):
    """Ticks of a logarithmic axis: powers of ten, every second or third of them named where there is no room for all.

    Args:
        minor: the ticks between those that are named: the other powers, or 2 to 9 times each.
    """

    def __init__(self, minor: bool = False) -> None:
        self.minor = minor

    def __call__(self) -> Any:
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        if not 0 < vmin < vmax:
            return []
        # Room for names such as 100,000 beside each other, or for lines of text on top of each other; Matplotlib's own
        # measure takes the widths of three characters, or two heights.
        space = self.axis.get_tick_space() * (3 / 5.5 if isinstance(self.axis, XAxis) else 2 / 1.3)  # type: ignore[union-attr]
        exponents = range(math.ceil(math.log10(vmin) - 1e-9), math.floor(math.log10(vmax) + 1e-9) + 1)
        stride = next((n for n in (1, 2, 3) if len(exponents) <= n * max(space, 2)), 4)
        chosen = [exponent for exponent in exponents if exponent % stride == 0]
        chosen = chosen if len(chosen) > 1 else list(exponents[::stride])
        if not self.minor:
            return [10.0**exponent for exponent in chosen]
        if stride > 1:
            return [10.0**exponent for exponent in exponents if exponent not in chosen]
        exponents = range(exponents.start - 1, exponents.stop)
        return [times * 10.0**exponent for exponent in exponents for times in range(2, 10)]


def logarithmic(axis: Axis) -> None:
    """Decades on a logarithmic axis, written out: 0.01, 10, 1,000."""
    axis.set_major_locator(Decades())
    axis.set_minor_locator(Decades(minor=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def decades(low: float, high: float) -> tuple[float, float]:
    """The powers of ten around two values above zero: limits of a logarithmic axis that always has two labels."""
    below, above = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return 10.0**below, 10.0 ** max(above, below + 1)


def title(entry: Mapping[Any, Any]) -> str:
    """A checkpoint as figures show it: its name, and below it what its weights are and whether all was finite.

    Args:
        entry: a row with checkpoint, weights (such as "planted") and nonfinite. Where a study's numbers are all as published,
            its caption says so, not each checkpoint.
    """
    told = [*([] if entry["weights"] == "as published" else [entry["weights"]]), *_nonfinite(entry)]
    if not told:
        return str(entry["checkpoint"])
    return f"{entry['checkpoint']}\n({', '.join(told)})"


def label(entry: Mapping[Any, Any], width: int = 36) -> str:
    """As `title`, on one line where that has at most `width` characters; weights in `UNTOLD` are not told."""
    told = [] if entry["weights"] in UNTOLD else [entry["weights"]]
    told += _nonfinite(entry)
    text = f"{entry['checkpoint']} ({', '.join(told)})" if told else str(entry["checkpoint"])
    return text if len(text) <= width or not told else text.replace(" (", "\n(", 1)


def _nonfinite(entry: Mapping[Any, Any]) -> list[str]:
    """What is said of NaN and infinity; nothing where it is not known."""
    count = entry["nonfinite"]
    return ["has NaN or infinity"] if not pd.isna(count) and count else []


def panel_title(entry: Mapping[Any, Any], width: int) -> str:
    """`title` for a panel of about so many characters: its lines broken where they are longer."""
    return "\n".join(textwrap.fill(line, width) for line in title(entry).split("\n"))


def panels(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """So many panels, row by row; what is left of the last row stays empty."""
    grid = list(figure.subplots(-(-count // columns), columns, squeeze=False, **options).flat)
    for axes in grid[count:]:
        axes.remove()
    return grid[:count]


def columns_for(count: int) -> int:
    """How many panels stand beside each other, so that 27 of them fit a page."""
    return 2 if count <= 4 else 3 if count <= 12 else 4


def label_rows(axes: Axes, entries: Sequence[Mapping[Any, Any]], width: int = 36) -> None:
    """Name the rows of an axis with checkpoints, the first on top; planted ones grey and in italics."""
    axes.set_yticks(range(len(entries)), [label(entry, width) for entry in entries])
    for text, entry in zip(axes.get_yticklabels(), entries, strict=True):
        if entry["kind"] in ("planted", "not available"):
            text.set(color=GREY, fontstyle="italic")
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def row_height(entries: Sequence[Mapping[Any, Any]], font_size: float, width: int = 36) -> float:
    """Inches that a row named by `label_rows` needs."""
    lines = max((label(entry, width).count("\n") + 1 for entry in entries), default=1)
    return 0.03 + lines * font_size * 1.25 / 72


def mark_planted(axes: Axes, kind: str) -> None:
    """Planted checkpoints have a grey ground: told apart at a glance."""
    if kind == "planted":
        axes.set_facecolor("#f0f0f0")
        axes.title.set_color(GREY)
        axes.title.set_fontstyle("italic")


def elsewhere(shown: pd.DataFrame, width: int) -> str:
    """Checkpoints whose error is of another site than the residual one of largest |x|, in lines of so many characters.

    Args:
        shown: rows with checkpoint and site; empty text if all are of a residual site.
    """
    other = shown[~shown["site"].str.startswith("residual")].drop_duplicates("checkpoint").to_dict("records")
    told = ", ".join(f"{entry['checkpoint']} at {entry['site']}" for entry in other)
    return textwrap.fill(f"at another site: {told}", width, break_on_hyphens=False) if other else ""


def nothing(axes: Axes, text: str) -> None:
    """In place of the curves of a panel that has none, so that missing data show as missing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.tick_params(axis="x", bottom=False, labelcolor="none")  # keeps their height: axis labels stay in line


def message(figure: Figure, text: str) -> None:
    """In place of a figure that has no data."""
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
