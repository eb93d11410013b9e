"""The stage `evaluate`: what no histogram tells, in one forward pass over the evaluation split.

errors.parquet has the columns of the stage `quantize`, for scales that channels, tokens, groups and blocks share;
protection.parquet what keeping the first token or the largest channels would save. Sites are those of 16 bits that were
measured. A sum over samples is in their order, one sample a pass, unpadded. smoothing.parquet, where the study asks for it,
has what SmoothQuant reaches on some of the samples, which are passed once more (`smoothed.py`).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from maxact.checkpoints.folder import weight_files
from maxact.histogram import finite_codes
from maxact.measure.batches import model_inputs
from maxact.measure.prepare import prepare
from maxact.measure.run import Sample, check_samples, deterministic
from maxact.measurement import read_table
from maxact.quantize.compiled import UNCHANGED, Rule, sums
from maxact.quantize.errors import UNDEFINED, Distribution, Error, statistics
from maxact.quantize.evaluation import Evaluation, Seen
from maxact.quantize.protection import PROTECTION, protections
from maxact.quantize.row_kernel import RowKernel
from maxact.quantize.smoothed import SMOOTHING, smoothing_rows
from maxact.quantize.smoothing import smoothings_of
from maxact.quantize.stage import SCHEMA
from maxact.quantize.ways import Way, ways
from maxact.quantize.weights import Weights
from maxact.sites.find import Site, decoder_of, find_sites
from maxact.store.job import Job, Product
from maxact.subset import chosen


def compute(job: Job) -> Product:
    """errors.parquet, protection.parquet, smoothing.parquet if asked for; the summary says how many sites there are, and how
    many have no 16 bits."""
    asked = job.parameters
    sites = read_table(job.path("measure", "sites.parquet"))
    channels = read_table(job.path("measure", "channels.parquet"))
    prepared = prepare(job)
    samples = [sample for sample in prepared.samples if sample.split == "evaluation"]
    wanted = ways(asked["formats"], asked["granularities"], asked["policies"])
    found = find_sites(decoder_of(prepared.model), asked["components"])
    seen = begun(found, sites, channels, wanted, asked["protect_channels"])
    started = time.perf_counter()
    evaluate(prepared.model, samples, seen, wanted, job.name)
    seconds = time.perf_counter() - started
    tables: dict[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
        "errors.parquet": (SCHEMA, [row for item in seen.values() for row in error_rows(item, wanted)]),
        "protection.parquet": (PROTECTION, [row for item in seen.values() for row in protection_rows(item, asked)]),
    }
    passed = samples
    if asked.get("smooth"):
        rows, again = _smoothing(job, prepared.model, samples, found, sites, channels)
        tables["smoothing.parquet"] = (SMOOTHING, rows)
        passed = [*samples, *again]
    measured = sites[sites.status == "measured"]
    return Product(
        files={name: _write(job, name, *table) for name, table in tables.items()},
        summary={
            "sites": len(seen),
            "float32_sites_left_out": int((measured.dtype == "float32").sum()),
            "samples": len(samples),
            "tokens": _tokens(samples),
        },
        costs={
            "forward_passes": len(passed),
            "tokens": _tokens(passed),
            "evaluating_seconds": round(seconds, 3),
            "gpus": prepared.gpus,
        },
    )


def begun(
    found: Sequence[Site], sites: pd.DataFrame, channels: pd.DataFrame, wanted: Sequence[Way], protect: Sequence[int]
) -> dict[int, Seen]:
    """The 16-bit sites of a measurement by number, with nothing seen yet.

    Raises:
        RuntimeError: the model's sites are not those of the measurement.
    """
    measured = sites[(sites.status == "measured") & (sites.dtype != "float32")].set_index("site")
    number_N, largest_N = (
        channels["site"].to_numpy(),
        channels["abs_max_calibration"].to_numpy(np.float32, na_value=np.nan),
    )
    begun = {}
    for site in found:
        if site.number not in measured.index:
            continue
        row = measured.loc[site.number]
        if (site.component, site.layer) != (row["component"], None if pd.isna(row["layer"]) else int(row["layer"])):
            raise RuntimeError(
                f"site {site.number} is {site.component}@{site.layer}, and was another when it was measured"
            )
        start, stop = np.searchsorted(number_N, [site.number, site.number + 1])
        begun[site.number] = Seen.of(site, row["dtype"], largest_N[start:stop], wanted, protect)
    if set(begun) != set(measured.index):
        raise RuntimeError("the model lacks sites that were measured")
    return begun


def evaluate(
    model: Any,
    samples: Sequence[Sample],
    seen: Mapping[int, Seen],
    wanted: Sequence[Way],
    title: str | None = None,
    kernel: RowKernel | None = None,
) -> None:
    """Pass every sample through the model's decoder and add what is seen to the sums; no samples add nothing.

    Args:
        title: named before a progress bar on standard error; no bar without it.

    Raises:
        UserError: a sample does not fit the model.
        RuntimeError: a site did not see every token.
    """
    if not samples:
        return
    decoder = decoder_of(model)
    check_samples(samples, decoder.config)
    bar = tqdm(
        total=sum(len(sample.token_ids) for sample in samples),
        unit="tok", unit_scale=True, desc=title, disable=title is None, file=sys.stderr, mininterval=1,
    )  # fmt: skip
    watching = Evaluation(seen, wanted, model.device.type, kernel)
    with watching, bar, deterministic(), torch.inference_mode():
        for sample in sorted(samples, key=lambda item: item.sample):
            watching.begin(sample)
            decoder(**model_inputs([sample], model.device), use_cache=False)
            watching.end()
            bar.update(len(sample.token_ids))


def error_rows(item: Seen, wanted: Sequence[Way]) -> Iterator[dict[str, Any]]:
    """A row for each way to quantize one site.

    A static scale has no error to tell where nothing was calibrated on, not even if it is a single channel in which an element
    is not 0: how it would be reconstructed is not known.
    """
    codes = np.flatnonzero((item.sums.counts > 0) & finite_codes(item.dtype)).astype(np.uint16)
    tensor = Distribution.of(codes, item.sums.counts[codes], item.dtype)
    none = np.float32(0)
    unchanged = Rule(UNCHANGED, np.float32(1), none, none, none, 0, 0)
    _, _, magnitude, square, _ = sums(tensor.values, tensor.counts, unchanged, 0.0, 0.0)
    for way, (absolute, squared), clipped in zip(wanted, item.sums.errors_W2, item.sums.clipped_W, strict=True):
        elements = tensor.elements
        if elements == 0 or math.isnan(squared) or (way.calibrated and not item.calibration.known):
            error = Error(elements, *UNDEFINED)
        else:
            numbers = statistics(float(absolute), float(squared), magnitude, square, elements)
            error = Error(elements, *numbers, int(clipped) / elements)
        yield {
            **_place(item),
            "format": way.format.name,
            "granularity": way.granularity,
            "policy": way.policy,
            "threshold": None,
            "scale": None,
            "zero_point": None,
            **vars(error),
        }


def protection_rows(item: Seen, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each format of whole tensors and each protection of one site."""
    for row in protections(item.sums.counts, item.protected, item.dtype, asked["formats"]):
        yield _place(item) | row


def _smoothing(
    job: Job,
    model: Any,
    samples: Sequence[Sample],
    found: Sequence[Site],
    sites: pd.DataFrame,
    channels: pd.DataFrame,
) -> tuple[list[dict[str, Any]], Sequence[Sample]]:
    """The rows of what SmoothQuant reaches, at 16-bit sites, and the samples that were passed for them."""
    asked, folder = job.parameters["smooth"], job.folder("checkpoint")
    listed = pq.read_table(
        job.path("tokens", "tokens.parquet"), columns=["sample", "id", "domain", "split"]
    ).to_pylist()
    some = chosen([row for row in listed if row["split"] == "evaluation"], asked["samples"], asked["seed"])
    numbers = {row["sample"] for row in some}
    by_alpha = smoothings_of(folder, sites[sites.dtype != "float32"], channels, asked["alphas"])
    taken = [sample for sample in samples if sample.sample in numbers]
    return smoothing_rows(model, taken, found, by_alpha, Weights(weight_files(folder)), asked["formats"])


def _tokens(samples: Sequence[Sample]) -> int:
    return sum(len(sample.token_ids) for sample in samples)


def _place(item: Seen) -> dict[str, Any]:
    return {"site": item.site.number, "component": item.site.component, "layer": item.site.layer}


def _write(job: Job, name: str, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> Any:
    file = job.scratch / name
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=schema.names), schema, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), file)  # pandas' own notes change with its version
    return file
