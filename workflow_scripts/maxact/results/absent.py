"""Checkpoints of a study that could not be had, in the tables and frames of those that could: a gap that shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

NOT_AVAILABLE = "not available"
"""Their kind; the reason is in the place of their weights."""


NOT_IN_DATA = "not in the data"
"""What stands in the place of a number that published files do not have, in tables and figures."""


def absent_row(name: str, reason: str) -> dict[str, Any]:
    """What a row of such a checkpoint says."""
    return {"checkpoint": name, "kind": NOT_AVAILABLE, "weights": reason}


def with_absent(frame: pd.DataFrame, absent: Mapping[str, str], order: Sequence[str]) -> pd.DataFrame:
    """The frame with a row for each checkpoint that could not be had, where the study has its place.

    Args:
        frame: rows of checkpoints, real ones first, then planted ones, each in the order of the study.
        absent: name -> reason. Planted checkpoints can always be had.
        order: names of all checkpoints of the study.
    """
    if not absent:
        return frame
    rows = pd.DataFrame([absent_row(*item) for item in absent.items()]).reindex(columns=frame.columns)
    nullable = {"int64": "Int64", "bool": "boolean"}
    types = {name: nullable.get(str(kind), kind) for name, kind in frame.dtypes.items()}
    joined = pd.concat([frame.astype(object), rows.astype(object)], ignore_index=True).astype(types)
    places = {name: place for place, name in enumerate(order)}
    place = [places.get(name, len(order)) for name in joined["checkpoint"]]
    return joined.iloc[np.lexsort((place, joined["kind"] == "planted"))].reset_index(drop=True)
