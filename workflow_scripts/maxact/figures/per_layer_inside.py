"""The largest |x| along the layers inside the blocks: inputs of linear layers, queries, keys, values, routed experts."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.per_layer import INSIDE, draw_components


def draw(frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """As `per_layer`, with the components that it leaves out."""
    return draw_components(frames["layers.parquet"], INSIDE, style)
