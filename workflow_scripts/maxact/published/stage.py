"""The stage `published`: the tree of the authors' result files, once checked, as tables of our own schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from maxact.measurement import SCHEMAS
from maxact.published.files import Problem, Published, read_tree
from maxact.published.listing import model_of
from maxact.published.names import IN_M
from maxact.published.source import results_folder
from maxact.published.tables import SITES, Imported, contradicted, headline, imported, write_table
from maxact.quantize.stage import SCHEMA as ERRORS
from maxact.store.job import Job, Product

SUBSETS = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("size", pa.int32()),  # samples drawn
        ("repetition", pa.int32()),
        ("M", pa.float64()),
        ("component", pa.string()),
        ("layer", pa.int16()),
    ]
)
PROBLEMS = pa.schema([(name, pa.string()) for name in ("checkpoint", "file", "field", "what", "severity")])


def compute(job: Job) -> Product:
    """For each checkpoint `<name>.sites.parquet`, `.top.parquet` and `.errors.parquet`; `subsets` and `problems` of all.

    The summary has what manifests of other stages tell of a checkpoint, by name.

    Raises:
        UserError: the files cannot be had, or are others than when the workflow was read.
    """
    published = read_tree(results_folder(job))
    runs = {run.name: run for run in published.quant}
    found = {one.name: imported(one, runs.get(one.name)) for one in published.checkpoints}
    files = {}
    for name, one in found.items():
        for table, frame, schema in (
            ("sites", one.sites, SITES),
            ("top", one.top, SCHEMAS["top"]),
            ("errors", one.errors, ERRORS),
        ):
            files[f"{name}.{table}.parquet"] = write_table(frame, schema, job.scratch / f"{name}.{table}.parquet")
    subsets, partial = _subsets(published)
    problems = [*published.problems, *_left_out(published, found), *partial]
    for table, rows, schema in (
        ("subsets", subsets, SUBSETS),
        ("problems", [{"checkpoint": _checkpoint_of(one, published), **vars(one)} for one in problems], PROBLEMS),
    ):
        frame = pd.DataFrame(rows, columns=schema.names)
        files[f"{table}.parquet"] = write_table(frame, schema, job.scratch / f"{table}.parquet")
    told: dict[str, Any] = {
        name: {"summary": one.summary, "tokens": one.tokens, "headline": one.headline} for name, one in found.items()
    }
    return Product(files=files, summary={"checkpoints": told, "problems": len(problems)})


def _left_out(published: Published, found: dict[str, Imported]) -> Iterator[Problem]:
    for checkpoint in published.checkpoints:
        for site in found[checkpoint.name].left_out:
            what = f"left out, as it is beyond the {checkpoint.layers} layers of the decoder"
            yield Problem(checkpoint.file, f"per_layer_stats.{site}", what, "left out")


def _subsets(published: Published) -> tuple[list[dict[str, Any]], list[Problem]]:
    """M of each subset. One that lacks the maximum of a site could have a smaller M for that alone, and is left out; so is
    one whose M other numbers of its file contradict, as a mark has no place in a spread over subsets."""
    rows, partial = [], []
    for run in published.bootstrap:
        sites = imported(run.statistics, None).sites
        unread = int((sites.component.isin(IN_M) & sites.peak.isna()).sum())
        M = headline(sites)["M"]
        why = f"no maximum at {unread} of the sites that M ranges over" if unread else ""
        why = why or ("M is contradicted" if contradicted(run.statistics, sites) else "")
        if why:
            what = f"{why}, so its M is left out of the subsets"
            partial.append(Problem(run.statistics.file, "per_layer_stats", what, "left out"))
        elif M is not None:
            row = {"checkpoint": run.name, "size": run.size, "repetition": run.repetition, "M": M["value"]}
            rows.append(row | {"component": M["component"], "layer": M["layer"]})
    return rows, partial


def _checkpoint_of(problem: Problem, published: Published) -> str | None:
    """The checkpoint that a problem is about: the one with that file, or the one that the file's name begins with."""
    files = {checkpoint.file: checkpoint.name for checkpoint in published.checkpoints}
    files |= {checkpoint.top.file: checkpoint.name for checkpoint in published.checkpoints if checkpoint.top}
    files |= {run.file: run.name for run in published.quant}
    files |= {run.statistics.file: run.name for run in published.bootstrap}
    return files.get(problem.file) or model_of(problem.file)
