"""One sample of a measurement run again alone: a stage that no rule names (`maxact replay`)."""

from __future__ import annotations

from maxact.measure.prepare import prepare
from maxact.measure.run import measure
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """The tables of the sample whose number is the parameter `sample`; the summary says what it ran on.

    All components of the measurement are watched, as then the pass is the same.
    """
    prepared = prepare(job)
    samples = [sample for sample in prepared.samples if sample.sample == job.parameters["sample"]]
    found = measure(prepared.model, samples, job.parameters["components"], prepared.vocabulary)
    files = found.write(job.scratch / "tables")
    return Product(files=files, costs={"forward_passes": 1, "gpus": prepared.gpus})
