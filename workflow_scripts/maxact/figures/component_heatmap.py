"""The largest |x| of every component of every checkpoint, as a table of colours."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.matrix import Cell, draw_matrix
from maxact.results.absent import NOT_IN_DATA
from maxact.sites.legend import LEGEND

MISSING = {
    "not applicable": "n/a",
    "not measured": "not asked",
    "no finite value": "not finite",
    NOT_IN_DATA: NOT_IN_DATA,
    "measured": None,
}

HELD = {"indices of experts": "index", "probabilities": "prob."}
"""What a router's values are that are no scores (`published/routers.py`), as there is room for it."""


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint, a column for each component, the value in each cell."""
    data = frames["component_maxima.parquet"]
    cells = [
        Cell(
            row["checkpoint"],
            row["component"],
            row["peak"],
            MISSING[row["status"]],
            None if pd.isna(row["holds"]) else HELD[row["holds"]],
            bool(row["contradicted"]),
        )
        for row in data.dropna(subset="component").to_dict("records")
    ]
    asked = set(data["component"])
    columns = {
        name: shown.label.replace(" output", "\noutput").replace(", ", ",\n")
        for name, shown in LEGEND.items()
        if name in asked
    }
    return draw_matrix(data, cells, columns, "largest |x|", style)
