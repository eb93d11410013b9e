"""The stage `shard`: what every so-manieth sample shows of one checkpoint, for `measure` to join (`measure/join.py`)."""

from __future__ import annotations

import time

from maxact.measure.join import PART
from maxact.measure.prepare import prepare
from maxact.measure.run import observe
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The part of a measurement that the samples of shard `number` of `shards` are, counted from 1."""
    prepared = prepare(job)
    number, shards = job.parameters["shard"]
    chosen = prepared.samples[number - 1 :: shards]
    started = time.perf_counter()
    observed = observe(
        prepared.model,
        prepared.samples,
        job.parameters["components"],
        prepared.vocabulary,
        title=job.name,
        chosen=[sample.sample for sample in chosen],
        unfinished=None if job.unfinished is None else job.unfinished / PART,
    )
    file = job.scratch / PART
    observed.part.write(file)
    tokens = sum(len(sample.token_ids) for sample in chosen)
    return Product(
        files={PART: file},
        summary={"samples": len(chosen), "tokens": tokens},
        costs={
            "forward_passes": observed.passes,
            "tokens": tokens,
            "measuring_seconds": round(time.perf_counter() - started, 3),
            "gpus": prepared.gpus,
        },
    )
