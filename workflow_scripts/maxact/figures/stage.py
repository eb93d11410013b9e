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
    frames = {name: _read(job.path("results", name)) for name in figure.reads}
    with styled(job.parameters):
        drawn = importlib.import_module(figure.module).draw(frames, job.parameters)
        files = save(drawn, job.scratch, job.name, job.parameters["dots_per_inch"])
    return Product(files=files)


def _read(file: Path) -> pd.DataFrame:
    return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
