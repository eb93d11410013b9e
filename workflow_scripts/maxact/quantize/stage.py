"""The stage `quantize`: the error of every format and policy at every 16-bit site, with no forward pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.histogram import Codes, Counts
from maxact.measurement import SPLITS, read_table
from maxact.quantize.errors import Distribution, error
from maxact.quantize.formats import FORMATS, NO_POLICY
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.store.job import Job, Product

SCHEMA = pa.schema(
    [
        ("site", pa.int16()),
        ("component", pa.string()),
        ("layer", pa.int16()),
        ("format", pa.string()),
        ("granularity", pa.string()),
        ("policy", pa.string()),
        ("threshold", pa.float64()),
        ("scale", pa.float64()),
        ("zero_point", pa.int32()),
        ("elements", pa.int64()),
        ("mae", pa.float64()),
        ("rmse", pa.float64()),
        ("relative_mae", pa.float64()),
        ("relative_rmse", pa.float64()),
        ("sqnr_db", pa.float64()),
        ("clip_rate", pa.float64()),
    ]
)

Histogram = tuple[Codes, Counts]


def compute(job: Job) -> Product:
    """errors.parquet: a row for each site, format and policy, NaN stored as null."""
    sites = read_table(job.path("measure", "sites.parquet"))
    histograms = read_table(job.path("measure", "histograms.parquet"))
    rows = site_errors(sites, histograms, job.parameters["formats"], job.parameters["policies"])
    file = job.scratch / "errors.parquet"
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=SCHEMA.names), SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), file)  # pandas' own notes change with its version
    return Product(files={file.name: file}, summary={"sites": len({row["site"] for row in rows})})


def site_errors(
    sites: pd.DataFrame, histograms: pd.DataFrame, formats: Sequence[str], policies: Sequence[str]
) -> list[dict[str, Any]]:
    """Errors on the evaluation split, with thresholds from the calibration split, at every 16-bit site.

    A float32 site is left out: its stored histogram is of rounded values. Formats with blocks are too: a histogram does
    not tell which elements share a scale.
    """
    number, split = histograms["site"].to_numpy(), histograms["split"].to_numpy()
    codes, counts = histograms["code"].to_numpy(), histograms["count"].to_numpy()

    def of(site: int, name: str) -> Histogram:
        start, stop = np.searchsorted(number, [site, site + 1])
        wanted = split[start:stop] == SPLITS.index(name)
        return codes[start:stop][wanted], counts[start:stop][wanted]

    def rows(site: dict[Any, Any]) -> list[dict[str, Any]]:
        named = {key: site[key] for key in ("site", "component", "layer")}
        calibration, evaluation = of(site["site"], "calibration"), of(site["site"], "evaluation")
        return [named | row for row in tensor_errors(calibration, evaluation, site["dtype"], formats, policies)]

    measured = sites[(sites.status == "measured") & (sites.dtype != "float32")].to_dict("records")
    # The compiled loops let other threads run.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        return [row for found in threads.map(rows, measured) for row in found]


def tensor_errors(
    calibration: Histogram, evaluation: Histogram, dtype: str, formats: Sequence[str], policies: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each format and policy of one tensor; a cast has one, with the policy `none`."""
    tensor = Distribution.of(*evaluation, dtype)
    calibrated = Distribution.of(*calibration, dtype)
    rows = []
    for format in (FORMATS[name] for name in formats):
        if format.block is not None:
            continue
        for policy in [NO_POLICY] if format.scaling == "none" else policies:
            threshold = 0.0 if policy == NO_POLICY else threshold_of(policy, *calibration, dtype, format)
            how = quantizer(format, threshold, *(calibrated.extremes if calibrated.elements else (0.0, 0.0)))
            rows.append(
                {
                    "format": format.name,
                    "granularity": "tensor",
                    "policy": policy,
                    "threshold": how.threshold,
                    "scale": how.scale,
                    "zero_point": how.zero_point if format.asymmetric else None,
                    **vars(error(tensor, how)),
                }
            )
    return rows
