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
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, Locator, NullFormatter

from maxact.results.absent import NOT_AVAILABLE, NOT_IN_DATA

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
    told = _told(entry, ("as published",))
    if not told:
        return str(entry["checkpoint"])
    return f"{entry['checkpoint']}\n({', '.join(told)})"


def label(entry: Mapping[Any, Any], width: int = 36) -> str:
    """As `title`, on one line where that has at most `width` characters; weights in `UNTOLD` are not told."""
    told = _told(entry, UNTOLD)
    text = f"{entry['checkpoint']} ({', '.join(told)})" if told else str(entry["checkpoint"])
    return text if len(text) <= width or not told else text.replace(" (", "\n(", 1)


def _told(entry: Mapping[Any, Any], untold: Sequence[str]) -> list[str]:
    """What is said beside a name; nothing of a checkpoint that could not be had, whose weights are the reason: tables tell it."""
    if entry["kind"] == NOT_AVAILABLE:
        return []
    weights = str(entry["weights"])
    for usual in untold:
        weights = weights.removeprefix(f"{usual}, ")  # what is said besides
    return ([] if weights in untold else [weights]) + (["has NaN or infinity"] if _has_nonfinite(entry) else [])


def _has_nonfinite(entry: Mapping[Any, Any]) -> bool:
    """Whether that is known, and so."""
    return not pd.isna(entry["nonfinite"]) and bool(entry["nonfinite"])


def why_missing(entry: Mapping[Any, Any], value: Any, otherwise: str) -> str:
    """What stands in place of a checkpoint's value, in every figure.

    Args:
        entry: as for `label`.
        value: which is missing, or cannot be drawn.
        otherwise: what is said where the checkpoint could be had, and was measured there.
    """
    if entry["kind"] == NOT_AVAILABLE:
        return NOT_AVAILABLE
    return NOT_IN_DATA if pd.isna(value) and not _has_nonfinite(entry) else otherwise


def letters(style: Mapping[str, float]) -> int:
    """How many characters of a note below a figure fit on a line; those of names are up to 0.64 of their size wide."""
    return int(72 * style["width_inches"] / (0.64 * style["font_size"]))


NO_ERROR = "no finite M or no known error above zero"
"""Why a figure of error against M has no point of a checkpoint, where the data are there."""


def without_a_point(data: pd.DataFrame, shown: pd.DataFrame, otherwise: str, width: int) -> list[str]:
    """`left_out` of the checkpoints that are not among the shown."""
    return left_out(data[~data["checkpoint"].isin(shown["checkpoint"])], otherwise, width)


def without_an_error(data: pd.DataFrame, shown: pd.DataFrame, known: pd.Series, width: int) -> list[str]:
    """The same in a figure of error against M, of rows of which it is known whether there is an error in the data."""
    both = data["M"].where(known.eq(True).groupby(data["checkpoint"]).transform("any"))
    out = data.assign(both=both)[~data["checkpoint"].isin(shown["checkpoint"])]
    return left_out(out, NO_ERROR, width, "both", "M or error ")


def left_out(out: pd.DataFrame, otherwise: str, width: int, value: str = "M", named: str = "") -> list[str]:
    """The checkpoints that a figure has no place for, in lines of so many characters, those of one reason together.

    Args:
        out: rows as for `label`, with the column `value`.
        otherwise: as of `why_missing`.
        named: what is not in the data, where the figure has more than one thing.
    """
    found: dict[str, list[str]] = {}
    for entry in out.drop_duplicates("checkpoint").to_dict("records"):
        found.setdefault(why_missing(entry, entry[value], otherwise), []).append(label(entry, 60))
    first = {NOT_AVAILABLE: NOT_AVAILABLE, NOT_IN_DATA: f"{named}{NOT_IN_DATA}"}
    told = [f"{first.get(why, f'not shown, {why}')}: {', '.join(names)}" for why, names in found.items()]
    return [textwrap.fill(line, width, break_on_hyphens=False) for line in told]


def name_panel(axes: Axes, entry: Mapping[Any, Any], columns: int, more: str = "") -> None:
    """A checkpoint's name over one of so many panels beside each other, on lines as long as it is wide; planted ones grey.

    Args:
        axes: the panel, of a figure whose width is set.
        entry: as for `label`.
        columns: more than four have smaller letters, so that the names of the paper's checkpoints have room on a line.
        more: a line below the name.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    size = float(axes.title.get_fontsize()) - (columns > 4)
    width = int(0.9 * figure.get_figwidth() / columns * 72 / (0.55 * size))
    lines = [*label(entry, 0).split("\n"), *([more] if more else [])]
    axes.set_title("\n".join(textwrap.fill(line, width) for line in lines), fontsize=size, pad=3)
    mark_planted(axes, entry["kind"])


def panels(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """So many panels, row by row; what is left of the last row stays empty."""
    grid = list(figure.subplots(-(-count // columns), columns, squeeze=False, **options).flat)
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:  # the lowest of each column, where all share an axis
        axes.tick_params(axis="x", labelbottom=True)
    return grid[:count]


PAGE_INCHES = 9.5
"""A figure of as many checkpoints as the paper has is no higher: it fits a page of letter or A4 with its caption."""

_HEIGHTS = {2: 2.2, 3: 1.8, 4: 1.5, 5: 1.3}
"""Inches of a row of panels, by the number of columns."""


def columns_for(count: int) -> int:
    """How many panels stand beside each other, so that 27 of them fit a page."""
    return 2 if count <= 4 else 3 if count <= 12 else 4 if count <= 20 else 5


def height_for(count: int, margins: float, least: float = 0.95) -> float:
    """Inches of a figure of so many panels: no more than a page, as long as a row has `least` inches."""
    columns = columns_for(count)
    rows = max(1, -(-count // columns))
    return margins + rows * max(least, min(_HEIGHTS[columns], (PAGE_INCHES - margins) / rows))


def label_rows(axes: Axes, entries: Sequence[Mapping[Any, Any]], width: int = 36) -> None:
    """Name the rows of an axis with checkpoints, the first on top; planted and missing ones grey and in italics."""
    axes.set_yticks(range(len(entries)), [label(entry, width) for entry in entries])
    grey_names(axes.get_yticklabels(), entries, ("planted", NOT_AVAILABLE))
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def grey_names(texts: Sequence[Text], entries: Sequence[Mapping[Any, Any]], kinds: Sequence[str]) -> None:
    """Names of checkpoints of these kinds in grey italics."""
    for text, entry in zip(texts, entries, strict=True):
        if entry["kind"] in kinds:
            text.set(color=GREY, fontstyle="italic")


def row_height(entries: Sequence[Mapping[Any, Any]], font_size: float, width: int = 36) -> float:
    """Inches that a row named by `label_rows` needs."""
    lines = max((label(entry, width).count("\n") + 1 for entry in entries), default=1)
    return 0.03 + lines * font_size * 1.25 / 72


def mark_planted(axes: Axes, kind: str) -> None:
    """Planted checkpoints have a grey ground: told apart at a glance. Names of those that are not there are grey too."""
    if kind == "planted":
        axes.set_facecolor("#f0f0f0")
    if kind in ("planted", NOT_AVAILABLE):
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


def with_gaps(part: pd.DataFrame) -> pd.DataFrame:
    """The layers of one line, in order, with empty rows where one is missing, so that the line does not run across."""
    layers = part["layer"].astype(int)
    return part.set_index(layers).reindex(range(layers.min(), layers.max() + 1)) if len(part) else part


def between_gaps(heights: pd.Series) -> pd.Series:
    """Which of the values along a line have none beside them, so that a line draws nothing there and a mark is to stand."""
    known = heights.notna()
    return known & ~known.shift(fill_value=False) & ~known.shift(-1, fill_value=False)


def marked(heights: pd.Series) -> list[bool]:
    """Where a line along the layers has marks: at every value of up to twelve layers, of more at those between gaps."""
    found: list[bool] = (heights.notna() if len(heights) <= 12 else between_gaps(heights)).tolist()
    return found


def nothing(axes: Axes, text: str) -> None:
    """In place of the curves of a panel that has none, so that missing data show as missing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.tick_params(axis="x", bottom=False, labelcolor="none")  # keeps their height: axis labels stay in line


def message(figure: Figure, text: str) -> None:
    """In place of a figure that has no data."""
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
