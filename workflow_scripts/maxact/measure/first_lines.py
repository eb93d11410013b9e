"""The stage `paper_check`: what the paper's INT-8 check sees, the first lines of the corpus at one site.

Its authors take the first samples of a file to calibrate on and those that follow to evaluate on, and look at the decoder
layer with the largest activation (`maxact/quantize/paper_check.py` has what they compute). Here one pass over these samples,
as far as that layer, gives the exact histogram of each set; thresholds and errors follow from it. Samples go unpadded, one a
pass, where the authors have batches with a mask over the padding: their last bits may differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from maxact.checkpoints.load import gpu_names, load_model
from maxact.histogram import finite_codes
from maxact.measure.batches import model_inputs
from maxact.measure.run import KERNELS, check_samples, deterministic
from maxact.measure.state import SiteState
from maxact.measure.watch import Sample, Watch
from maxact.measurement import SPLITS, read_table
from maxact.sites.find import Site, decoder_of, find_sites
from maxact.sites.taps import Routing
from maxact.store.job import Job, Product

SCHEMA = pa.schema([("split", pa.string()), ("code", pa.uint16()), ("count", pa.int64())])


class _ReachedError(Exception):
    """The one site that is watched has been seen: the rest of the pass is of no use."""


class WatchOne(Watch):
    """Watches one site, and ends each pass there."""

    def _see(self, site: Site, x: Tensor, routing: Routing | None) -> None:
        super()._see(site, x, routing)
        raise _ReachedError


def compute(job: Job) -> Product:
    """histograms.parquet; the summary has the site, its dtype, and the domains of each set of samples.

    Where no residual activation of the measurement is finite there is no site, and no row.
    """
    asked = job.parameters
    rows = pq.read_table(job.path("tokens", "tokens.parquet"), columns=["sample", "domain", "split", "token_ids"])
    lines = rows.to_pylist()
    chosen = first_lines(lines, asked["calibration"], asked["evaluation"])
    domains = {"first_lines": _domains(chosen), "stratified": _domains(lines)}
    layer = peak_layer(read_table(job.path("measure", "sites.parquet")))
    summary: dict[str, Any] = {"component": "residual", "layer": layer, "domains": domains}
    file = job.scratch / "histograms.parquet"
    if layer is None:
        pq.write_table(pa.Table.from_pylist([], SCHEMA), file)
        return Product(files={file.name: file}, summary=summary)
    model = load_model(
        job.folder("checkpoint"),
        dtype=asked["dtype"],
        attention=asked["attention"],
        expected_model_type=asked["model_type"],
        device=asked.get("device", "cpu"),
    )
    samples = [Sample(row["sample"], row["split"], tuple(row["token_ids"])) for row in chosen]
    state = histograms(model, samples, layer)
    pq.write_table(pa.Table.from_pandas(_rows(state), SCHEMA, preserve_index=False).replace_schema_metadata(None), file)
    told = {"dtype": state.dtype, "tokens": state.rows, "samples": len(samples)}
    return Product(
        files={file.name: file},
        summary=summary | told,
        costs={"forward_passes": len(samples), "gpus": gpu_names(model)},
    )


def first_lines(rows: Sequence[dict[str, Any]], calibration: int, evaluation: int) -> list[dict[str, Any]]:
    """So many rows from the first on, with the split that they are in here."""
    named = ["calibration"] * calibration + ["evaluation"] * evaluation
    return [{**row, "split": name} for row, name in zip(rows, named, strict=False)]


def peak_layer(sites: pd.DataFrame) -> int | None:
    """The layer whose residual stream has the largest |x|, the first of equal ones; None where none is finite."""
    residual = sites[(sites.component == "residual") & sites.peak.notna()]
    return int(residual.layer[residual.peak == residual.peak.max()].min()) if len(residual) else None


def histograms(model: Any, samples: Sequence[Sample], layer: int) -> SiteState:
    """The exact counts of the residual stream behind a layer, by split; no pass goes further than that layer."""
    decoder = decoder_of(model)
    check_samples(samples, decoder.config)
    sites = [site for site in find_sites(decoder, ["residual"]) if site.layer == layer]
    watch = WatchOne(sites, KERNELS[2] if decoder.device.type == "cuda" else KERNELS[0])
    with watch, deterministic(), torch.inference_mode():
        for sample in samples:
            watch.begin(sample)
            with suppress(_ReachedError):
                decoder(**model_inputs([sample], model.device), use_cache=False)
            watch.end()
    return watch.states[sites[0].number]


def _rows(state: SiteState) -> pd.DataFrame:
    finite = finite_codes("bfloat16" if state.dtype == "float32" else state.dtype)
    split, code = np.nonzero(np.where(finite, state.counts, 0))
    names = np.array(SPLITS, dtype=object)[split]
    return pd.DataFrame({"split": names, "code": code, "count": state.counts[split, code]})


def _domains(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many samples of each domain each split has."""
    return {
        split: dict(sorted(Counter(row["domain"] for row in rows if row["split"] == split).items()))
        for split in SPLITS[:2]
    }
