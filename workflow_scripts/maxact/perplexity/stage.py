"""The stage `perplexity`: a real checkpoint on the evaluation split, without quantization and with each quantizer.

Chosen sites are quantized and dequantized in the forward pass; weights stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maxact.checkpoints.load import gpu_names, load_model
from maxact.likelihood import perplexity_of
from maxact.measurement import read_table
from maxact.perplexity.plan import Histograms, Plan, plan
from maxact.perplexity.run import Costs, run
from maxact.quantize.smoothing import Place, Smoothing, smoothings_of
from maxact.sites.find import decoder_of
from maxact.store.job import Job, Product
from maxact.subset import chosen

SCHEMA = pa.schema(
    [
        ("quantizer", pa.int16()),  # counts in the order of the study; null for no quantization
        ("format", pa.string()),
        ("granularity", pa.string()),
        ("policy", pa.string()),
        ("smooth", pa.float64()),  # alpha of SmoothQuant; null without
        ("tensors", pa.string()),
        ("perplexity", pa.float64()),  # null where a logit is not finite
        ("ratio", pa.float64()),  # to the perplexity without quantization
        ("divergence", pa.float64()),  # mean KL(without || with quantization) of next-token distributions, nats
        ("tokens", pa.int64()),  # predicted
        ("samples", pa.int64()),
        ("sites", pa.int32()),  # quantized
        ("smoothed", pa.int32()),  # of these, with SmoothQuant's scales
    ]
)
SITES = pa.schema(
    [
        ("quantizer", pa.int16()),
        ("component", pa.string()),
        ("layer", pa.int16()),
        ("reason", pa.string()),  # why it is not quantized; null where it is
        ("plain", pa.string()),  # why it is quantized without SmoothQuant's scales, where these are asked for
    ]
)


def compute(job: Job) -> Product:
    """perplexity.parquet: a row without quantization, and one for each quantizer; sites.parquet: where each is applied."""
    asked = job.parameters
    rows = pq.read_table(
        job.path("tokens", "tokens.parquet"), columns=["id", "domain", "split", "token_ids"]
    ).to_pylist()
    rows = chosen([row for row in rows if row["split"] == "evaluation"], asked["samples"], asked["seed"])
    known = Histograms.of(*(read_table(job.path("measure", f"{table}.parquet")) for table in ("sites", "histograms")))
    folder = job.folder("checkpoint")
    model = load_model(folder, asked["dtype"], asked["attention"], asked["model_type"], asked.get("device", "cpu"))
    smooth = _smoothings(job, asked["quantizers"])
    plans = [
        plan(decoder_of(model), item, known, smooth.get(item["smooth"]) if "smooth" in item else None)
        for item in asked["quantizers"]
    ]
    found = run(model, [row["token_ids"] for row in rows], plans, job.name)
    table = [{**row, "samples": len(rows)} for row in table_of(asked["quantizers"], plans, found)]
    files = {}
    for name, schema, data in (("perplexity", SCHEMA, table), ("sites", SITES, _places(plans))):
        files[f"{name}.parquet"] = file = job.scratch / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(data, schema=schema), file)
    summary = {
        "perplexity": table[0]["perplexity"],
        "tokens": found.tokens,
        "samples": len(rows),
        "quantizers": len(plans),
    }
    costs = {"forward_passes": found.passes, "tokens": found.tokens, "gpus": gpu_names(model)}
    return Product(files=files, summary=summary, costs=costs)


def _smoothings(job: Job, quantizers: Sequence[Mapping[str, Any]]) -> dict[float, dict[Place, Smoothing | str]]:
    """SmoothQuant's scales for each alpha that is asked for."""
    alphas = sorted({item["smooth"] for item in quantizers if "smooth" in item})
    if not alphas:
        return {}
    sites, channels = (read_table(job.path("measure", f"{table}.parquet")) for table in ("sites", "channels"))
    return smoothings_of(job.folder("checkpoint"), sites, channels, alphas)


def table_of(quantizers: Sequence[Mapping[str, Any]], plans: Sequence[Plan], found: Costs) -> list[dict[str, Any]]:
    """The rows of `SCHEMA` but for samples."""
    perplexities = [perplexity_of(float(sums.likelihood), found.tokens) for sums in found.sums]
    rows: list[dict[str, Any]] = [{"perplexity": _finite(perplexities[0]), "ratio": 1.0, "divergence": 0.0}]
    rows[0] |= {"sites": 0, "smoothed": 0}
    for number, (asked, how, sums) in enumerate(zip(quantizers, plans, found.sums[1:], strict=True)):
        rows.append(
            {
                "quantizer": number,
                **{name: asked[name] for name in ("format", "granularity", "policy")},
                "smooth": asked.get("smooth"),
                "tensors": ", ".join(asked["tensors"]),
                "perplexity": _finite(perplexities[number + 1]),
                "ratio": _finite(perplexities[number + 1] / perplexities[0]),
                "divergence": _finite(float(sums.divergence) / found.tokens),
                "sites": len(how.sites),
                "smoothed": len(how.sites) - len(how.plain) if "smooth" in asked else 0,
            }
        )
    return [{**row, "tokens": found.tokens} for row in rows]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _places(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    rows = []
    for number, how in enumerate(plans):
        told = {site.number: (site, None) for site in how.sites} | {site.number: (site, why) for site, why in how.left}
        for _, (site, why) in sorted(told.items()):
            row = {"quantizer": number, "component": site.component, "layer": site.layer, "reason": why}
            rows.append({**row, "plain": how.plain.get(site.number)})
    return rows
