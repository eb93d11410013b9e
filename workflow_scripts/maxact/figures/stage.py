"""The stage `figures`: one figure by its name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd

from maxact.figures.registry import FIGURES
from maxact.figures.style import save, styled
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The figure as PDF and PNG."""
    figure = FIGURES[job.name]
    frames = {name: read_frame(job.path("results", name)) for name in figure.reads}
    with styled(job.parameters):
        drawn = importlib.import_module(figure.module).draw(frames, job.parameters)
        files = save(drawn, job.scratch, job.name, job.parameters["dots_per_inch"])
    return Product(files=files)


def read_frame(file: Path) -> pd.DataFrame:
    """A frame or table of the results. In CSV an empty cell alone is missing: a checkpoint may be named NA, or 007."""
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    return pd.read_csv(file, dtype={"checkpoint": "str"}, keep_default_na=False, na_values=[""])
