"""Which number format, granularity and clipping policy win at each site, told by component: layers with one winner together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from maxact.quantize.formats import FORMATS
from maxact.quantize.tensors import TENSORS
from maxact.results.decibels import difference, exact_as_infinite, median
from maxact.results.decisions import named
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, every_error, in_order, marks, site_name

_COLUMNS = {
    **MARK_TYPES,
    "component": "str",
    **dict.fromkeys(("bits", "sites", "winners"), "Int64"),
    "winner_of_layers": "str",
    **dict.fromkeys(("median_margin_db", "least_margin_db"), "float64"),
    **dict.fromkeys(("least_margin_site", "note"), "str"),
}


def site_winners(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, component that deployment quantizes and width of formats.

    The winner of a site has the largest SQNR there, counted as in `decisions`; the first of equal ones in the order of the study.
    Its margin is to the best of another format of that width, as `decisions` has it: missing where there is none. A site where
    every format is lost is won by none; one without finite values or without power is left out.
    winner_of_layers: each winner with the layers that it wins, the one with most layers first.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        every = every_error(member)
        for component in itertools.chain.from_iterable(TENSORS.values()):
            errors = every[every.component == component]
            bits = errors["format"].map(lambda name: FORMATS[name].bits)
            for width in sorted(set(bits)):
                row = {**marks(member), "component": component, "bits": width}
                rows.append(row | _won(component, errors[bits == width]))
    return typed(rows, _COLUMNS)


def _won(component: str, errors: pd.DataFrame) -> dict[str, Any]:
    """The winners among the formats of one width."""
    ways = list(zip(errors["format"], errors["granularity"], errors["policy"], strict=True))
    table = errors.assign(way=[named(way) for way in ways], sqnr=exact_as_infinite(errors))
    sqnr = table.pivot(index=["site", "layer"], columns="way", values="sqnr")[list(dict.fromkeys(table.way))]
    sqnr = sqnr[sqnr.notna().any(axis=1)].fillna(-math.inf)
    if sqnr.empty:
        return {"note": "no finite value"}
    values, layers = sqnr.to_numpy(np.float64), sqnr.index.get_level_values("layer").to_numpy()
    formats = np.array([name.split(",")[0] for name in sqnr.columns])
    best = values.argmax(axis=1)
    lost = values.max(axis=1) == -math.inf
    won: dict[str, list[int]] = {}
    for layer, way, none in zip(layers, best, lost, strict=True):
        won.setdefault("none" if none else sqnr.columns[way], []).append(int(layer))
    told = [f"{name}: {_ranges(of)}" for name, of in sorted(won.items(), key=lambda item: -len(item[1]))]
    row = {"sites": len(sqnr), "winners": len(won.keys() - {"none"}), "winner_of_layers": "; ".join(told)}
    if len(set(formats)) == 1:
        return row
    others = np.where(formats[None, :] != formats[best][:, None], values, -math.inf).max(axis=1)
    margins = [difference(*pair) for pair in zip(values.max(axis=1).tolist(), others.tolist(), strict=True)]
    least = int(np.argmin(margins))
    return row | {
        "median_margin_db": median(margins),
        "least_margin_db": margins[least],
        "least_margin_site": site_name(component, layers[least]),
    }


def _ranges(layers: Iterable[int]) -> str:
    """`0 to 11, 13`, of ascending layers."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
