"""The stage `measure`: one checkpoint on the tokens of its family."""

from __future__ import annotations

import time

from maxact.measure.headline import headline
from maxact.measure.prepare import prepare
from maxact.measure.probe import probe, probe_samples
from maxact.measure.run import observe
from maxact.measurement import PROBE
from maxact.sites.find import decoder_of
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The tables of a measurement, and its probe; the summary has M, its place, and how many values were not finite."""
    prepared = prepare(job)
    samples = prepared.samples
    started = time.perf_counter()
    observed = observe(
        prepared.model,
        samples,
        job.parameters["components"],
        prepared.vocabulary,
        title=job.name,
        batch_tokens=job.parameters.get("batch_tokens"),
        unfinished=None if job.unfinished is None else job.unfinished / "part.npz",
    )
    seconds = time.perf_counter() - started
    found = observed.tables(prepared.vocabulary)
    nonfinite = found.sites[["nan", "positive_infinity", "negative_infinity"]].sum().sum()
    extent = {
        "attention": decoder_of(prepared.model).config._attn_implementation,
        "sites": int((found.sites.status == "measured").sum()),
        "not_applicable": int((found.sites.status != "measured").sum()),
        "batch_tokens": observed.part.about["batch_tokens"],
        "samples": len(samples),
        "tokens": sum(len(sample.token_ids) for sample in samples),
    }
    return Product(
        files={**found.write(job.scratch / "tables"), PROBE: probe(prepared, job.parameters, job.scratch)},
        summary={**headline(found), "nonfinite": int(nonfinite), **extent},
        costs={
            "forward_passes": observed.passes + len(probe_samples(samples)),
            "tokens": extent["tokens"],
            "measuring_seconds": round(seconds, 3),
            "gpus": prepared.gpus,
        },
    )
