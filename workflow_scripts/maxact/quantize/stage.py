"""The stage `quantize`: the error of every policy at every 16-bit site, with no forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.measurement import SPLITS, read_table
from maxact.quantize.integer import error, threshold_of
from maxact.store.job import Job, Product

SCHEMA = pa.schema(
    [
        ("site", pa.int16()),
        ("component", pa.string()),
        ("layer", pa.int16()),
        ("format", pa.string()),
        ("policy", pa.string()),
        ("threshold", pa.float64()),
        ("scale", pa.float64()),
        ("elements", pa.int64()),
        ("mae", pa.float64()),
        ("rmse", pa.float64()),
        ("relative_mae", pa.float64()),
        ("relative_rmse", pa.float64()),
        ("sqnr_db", pa.float64()),
        ("clip_rate", pa.float64()),
    ]
)


def compute(job: Job) -> Product:
    """errors.parquet: a row for each site and policy, NaN stored as null."""
    sites = read_table(job.path("measure", "sites.parquet"))
    histograms = read_table(job.path("measure", "histograms.parquet"))
    rows = site_errors(sites, histograms, job.parameters["bits"], job.parameters["policies"])
    file = job.scratch / "errors.parquet"
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=SCHEMA.names), SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), file)  # pandas' own notes change with its version
    return Product(files={file.name: file}, summary={"sites": len({row["site"] for row in rows})})


def site_errors(
    sites: pd.DataFrame, histograms: pd.DataFrame, bits: int, policies: Sequence[str]
) -> list[dict[str, Any]]:
    """Errors on the evaluation split, with thresholds from the calibration split, at every 16-bit site.

    A float32 site is left out: its stored histogram is of rounded values.
    """
    number, split = histograms["site"].to_numpy(), histograms["split"].to_numpy()
    codes, counts = histograms["code"].to_numpy(), histograms["count"].to_numpy()

    def of(site: int, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        start, stop = np.searchsorted(number, [site, site + 1])
        wanted = split[start:stop] == SPLITS.index(name)
        return codes[start:stop][wanted], counts[start:stop][wanted]

    rows = []
    measured = sites[(sites.status == "measured") & (sites.dtype != "float32")]
    for site in measured.to_dict("records"):
        calibration, evaluation = of(site["site"], "calibration"), of(site["site"], "evaluation")
        for policy in policies:
            threshold = threshold_of(policy, *calibration, site["dtype"])
            found = error(*evaluation, site["dtype"], threshold, bits)
            named = {key: site[key] for key in ("site", "component", "layer")}
            rows.append({**named, "format": f"int{bits}", "policy": policy, **vars(found)})
    return rows
