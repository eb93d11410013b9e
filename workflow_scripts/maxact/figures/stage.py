"""The stage `figures`: one figure by its name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from maxact.figures.registry import FIGURES
from maxact.figures.style import save, styled
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The figure as PDF and PNG."""
    frames = {name: read_frame(job.path("results", name)) for name in FIGURES[job.name].reads}
    with styled(job.parameters):
        files = save(draw(job.name, frames, job.parameters), job.scratch, job.name, job.parameters["dots_per_inch"])
    return Product(files=files)


def draw(name: str, frames: Mapping[str, pd.DataFrame], style: Mapping[str, float]) -> Figure:
    """The figure of that name.

    Args:
        name: in `FIGURES`.
        frames: what it reads, by name; of these it shows the rows that `FIGURES` says, and those of checkpoints that could
            not be had.
        style: of the study; Matplotlib's settings are those of `styled`.
    """
    entry = FIGURES[name]
    if entry.rows is not None:
        column, value = entry.rows
        frames = {item: frame[(frame[column] == value) | frame[column].isna()] for item, frame in frames.items()}
    drawn: Figure = importlib.import_module(entry.module).draw(frames, style)
    return drawn


def read_frame(file: Path) -> pd.DataFrame:
    """A frame or table of the results. In CSV an empty cell alone is missing: a checkpoint may be named NA, or 007."""
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    return pd.read_csv(file, dtype={"checkpoint": "str"}, keep_default_na=False, na_values=[""])
