"""The table of quantization errors of one checkpoint: a row for every 16-bit site and clipping policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from maxact.histogram import Codes, Counts
from maxact.measurement import SPLITS
from maxact.quantize.integer import Magnitudes, errors, scale_of, threshold_of

SCHEMA = pa.schema(
    [
        ("site", pa.int16()),
        ("component", pa.string()),
        ("layer", pa.int16()),  # null: exists once in a model
        ("format", pa.string()),  # "int8"
        ("policy", pa.string()),  # how the threshold is taken from the calibration split
        ("threshold", pa.float64()),
        ("scale", pa.float64()),  # a float32 value
        ("elements", pa.int64()),  # finite values of the evaluation split, on which the errors are
        ("mae", pa.float64()),
        ("rmse", pa.float64()),
        ("relative_mae", pa.float64()),
        ("relative_rmse", pa.float64()),
        ("sqnr_db", pa.float64()),  # null where the reconstruction is exact
        ("clip_rate", pa.float64()),
    ]
)
"""Nulls stand where a split has no finite value."""


def site_errors(sites: pd.DataFrame, histograms: pd.DataFrame, bits: int, policies: Sequence[str]) -> pd.DataFrame:
    """Errors by site and policy, with the columns of `SCHEMA`, in forward order.

    A float32 site is left out: its histogram is of rounded values, and would not give the error of its tensor.

    Args:
        sites, histograms: tables of a measurement (`maxact.measurement.SCHEMAS`).
        bits: of the integers.
        policies: as `maxact.quantize.integer.threshold_of` takes them.
    """
    distributions = dict(_distributions(histograms))
    nothing = np.array([], np.uint16), np.array([], np.int64)
    rows = []
    for site in sites[sites.status == "measured"].to_dict("records"):
        if site["rounded"]:
            continue
        calibration, evaluation = (distributions.get((site["site"], split), nothing) for split in (0, 1))
        magnitudes = Magnitudes.of(*evaluation, site["dtype"])
        for policy in policies:
            threshold = threshold_of(*calibration, site["dtype"], policy)
            rows.append(
                {key: site[key] for key in ("site", "component", "layer")}
                | {"format": f"int{bits}", "policy": policy, "threshold": threshold}
                | {"scale": float(scale_of(threshold, bits)), "elements": magnitudes.elements}
                | vars(errors(magnitudes, threshold, bits))
            )
    frame = pd.DataFrame(rows, columns=SCHEMA.names)
    numbers = [column.name for column in SCHEMA if pa.types.is_floating(column.type)]
    return frame.astype(dict.fromkeys(numbers, "float64") | {"site": "int16", "layer": "Int16", "elements": "int64"})


def _distributions(histograms: pd.DataFrame) -> Iterator[tuple[tuple[int, int], tuple[Codes, Counts]]]:
    """(site, number of the split) -> codes and counts. The table is sorted by both, so each is one run of rows."""
    site, split, codes, counts = (histograms[name].to_numpy() for name in ("site", "split", "code", "count"))
    run = site.astype(np.int64) * len(SPLITS) + split
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(run)], strict=True):
        yield (int(site[start]), int(split[start])), (codes[start:end], counts[start:end])
