"""The stage `measure`: one checkpoint on the tokens of its family."""

from __future__ import annotations

import time

import pyarrow.parquet as pq

from maxact.checkpoints.load import gpu_names, load_model
from maxact.measure.headline import headline
from maxact.measure.run import Sample, measure
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The five tables of a measurement; the summary has M, its place, and how many values were not finite."""
    tokens = pq.read_table(job.path("tokens", "tokens.parquet"), columns=["sample", "split", "token_ids"]).to_pylist()
    vocabulary = pq.read_table(job.path("tokens", "vocabulary.parquet")).to_pylist()
    samples = [Sample(row["sample"], row["split"], tuple(row["token_ids"])) for row in tokens]
    parameters = job.parameters
    model = load_model(
        job.folder("checkpoint"),
        dtype=parameters["dtype"],
        attention=parameters["attention"],
        expected_model_type=parameters["model_type"],
        device=parameters.get("device", "cpu"),
    )
    started = time.perf_counter()
    texts = {row["token_id"]: row["text"] for row in vocabulary}
    found = measure(model, samples, parameters["components"], texts, title=job.name)
    seconds = time.perf_counter() - started
    nonfinite = found.sites[["nan", "positive_infinity", "negative_infinity"]].sum().sum()
    extent = {
        "attention": model.get_decoder().config._attn_implementation,
        "sites": int((found.sites.status == "measured").sum()),
        "not_applicable": int((found.sites.status != "measured").sum()),
        "samples": len(samples),
        "tokens": sum(len(sample.token_ids) for sample in samples),
    }
    return Product(
        files=found.write(job.scratch / "tables"),
        summary={**headline(found), "nonfinite": int(nonfinite), **extent},
        costs={
            "forward_passes": len(samples),
            "tokens": extent["tokens"],
            "measuring_seconds": round(seconds, 3),
            "gpus": gpu_names(model),
        },
    )
