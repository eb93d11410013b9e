"""The stage `quantize`: what every 16-bit site loses in each format and policy, and what it needs; with no forward pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.histogram import Codes, Counts
from maxact.measurement import SPLITS, read_table
from maxact.quantize.curves import curve, curve_formats, curve_sites
from maxact.quantize.errors import Distribution, error
from maxact.quantize.formats import FORMATS, NO_POLICY
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.quantize.widths import bits_needed
from maxact.store.job import Job, Product

_SITE = [("site", pa.int16()), ("component", pa.string()), ("layer", pa.int16())]

SCHEMA = pa.schema(
    [
        *_SITE,
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

BITS = pa.schema(
    [
        *_SITE,
        ("policy", pa.string()),
        ("target_db", pa.float64()),
        ("bits", pa.int8()),  # null: 16 do not reach it
        ("sqnr_db", pa.float64()),  # that these bits reach, or where there are none 16; null: not defined
    ]
)

CURVES = pa.schema(
    [
        *_SITE,
        ("reason", pa.string()),  # why this site has a curve
        ("format", pa.string()),
        ("threshold", pa.float64()),
        ("sqnr_db", pa.float64()),
        ("clip_rate", pa.float64()),
    ]
)

Histogram = tuple[Codes, Counts]
Row = dict[str, Any]


def compute(job: Job) -> Product:
    """errors.parquet, bits.parquet, curves.parquet; NaN is stored as null."""
    asked = job.parameters
    sites = sixteen_bits(read_table(job.path("measure", "sites.parquet")))
    split = splits_of(read_table(job.path("measure", "histograms.parquet")))
    errors = site_errors(sites, split, asked["formats"], asked["policies"])
    bits = site_bits(sites, split, asked["sqnr_targets"])
    curves = site_curves(sites, split, errors, asked["formats"])
    tables = {"errors": (errors, SCHEMA), "bits": (bits, BITS), "curves": (curves, CURVES)}
    files = {f"{name}.parquet": job.scratch / f"{name}.parquet" for name in tables}
    for file, (rows, schema) in zip(files.values(), tables.values(), strict=True):
        _write(rows, schema, file)
    return Product(files=files, summary={"sites": len({row["site"] for row in errors})})


def _write(rows: Sequence[Row], schema: pa.Schema, file: Path) -> None:
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=schema.names), schema, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), file)  # pandas' own notes change with its version


def sixteen_bits(sites: pd.DataFrame) -> pd.DataFrame:
    """The sites whose stored histogram is that of the tensor: of float32 it is of rounded values."""
    return sites[(sites.status == "measured") & (sites.dtype != "float32")]


def splits_of(histograms: pd.DataFrame) -> Callable[[int, str], Histogram]:
    """A function from site and split to the histogram there."""
    number, split = histograms["site"].to_numpy(), histograms["split"].to_numpy()
    codes, counts = histograms["code"].to_numpy(), histograms["count"].to_numpy()

    def of(site: int, name: str) -> Histogram:
        start, stop = np.searchsorted(number, [site, site + 1])
        wanted = split[start:stop] == SPLITS.index(name)
        return codes[start:stop][wanted], counts[start:stop][wanted]

    return of


def site_errors(
    sites: pd.DataFrame, split: Callable[[int, str], Histogram], formats: Sequence[str], policies: Sequence[str]
) -> list[Row]:
    """Errors on the evaluation split, with thresholds from the calibration split, at each of the sites.

    Formats with blocks are left out: a histogram does not tell which elements share a scale.
    """

    def rows(site: Mapping[Any, Any]) -> list[Row]:
        both = split(site["site"], "calibration"), split(site["site"], "evaluation")
        return tensor_errors(*both, site["dtype"], formats, policies)

    return _of_each(sites, rows)


def site_bits(sites: pd.DataFrame, split: Callable[[int, str], Histogram], targets: Sequence[float]) -> list[Row]:
    """The bits that each of the sites needs for each SQNR (`bits_needed`)."""
    if not targets:
        return []

    def rows(site: Mapping[Any, Any]) -> list[Row]:
        both = split(site["site"], "calibration"), split(site["site"], "evaluation")
        return bits_needed(*both, site["dtype"], targets)

    return _of_each(sites, rows)


def site_curves(
    sites: pd.DataFrame, split: Callable[[int, str], Histogram], errors: Sequence[Row], formats: Sequence[str]
) -> list[Row]:
    """The SQNR under every threshold of a grid, at the sites of `curve_sites`."""
    chosen = curve_sites(sites, errors, formats)

    def rows(site: Mapping[Any, Any]) -> list[Row]:
        reason, evaluation = chosen[int(site["site"])], split(site["site"], "evaluation")
        return [
            {"reason": reason, "format": name} | point
            for name in curve_formats(formats)
            for point in curve(evaluation, site["dtype"], name)
        ]

    return _of_each(sites[sites.site.isin(list(chosen))], rows)


def _of_each(sites: pd.DataFrame, rows: Callable[[Mapping[Any, Any]], list[Row]]) -> list[Row]:
    """The rows of every site, in order, each with the columns that name its site; the compiled loops let other threads run."""
    listed = sites.to_dict("records")
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        found = list(threads.map(rows, listed))
    named = [{key: site[key] for key in ("site", "component", "layer")} for site in listed]
    return [name | row for name, of_site in zip(named, found, strict=True) for row in of_site]


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
