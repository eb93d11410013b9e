"""The largest |x| in each domain of the corpus, as a table of colours."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.matrix import Cell, draw_matrix


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """A row for each checkpoint, a column for each domain, the value in each cell."""
    data = frames["domain_maxima.parquet"]
    cells = [
        Cell(row["checkpoint"], row["group"], row["largest"], "not finite" if pd.isna(row["largest"]) else None)
        for row in data.dropna(subset="group").to_dict("records")
    ]
    names = sorted(set(data["group"].dropna()))
    return draw_matrix(data, cells, {name: name for name in names}, "largest |x|", style)
