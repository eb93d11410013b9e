"""The probe of a measurement: a few of its samples measured alone, kept as digests of the tables.

When the measuring code is rewritten and means the same, the probe tells so in a few forward passes (`maxact adopt`). It is
also a stage of its own, which no rule names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maxact.measure.prepare import Prepared, prepare
from maxact.measure.run import Sample, measure
from maxact.measurement import PROBE
from maxact.store.job import Job, Product
from maxact.store.objects import digest_file


def probe_samples(samples: Sequence[Sample]) -> list[Sample]:
    """The longest sample of each split; of equally long ones the first."""
    chosen: dict[str, Sample] = {}
    for sample in sorted(samples, key=lambda item: (-len(item.token_ids), item.sample)):
        chosen.setdefault(sample.split, sample)
    return sorted(chosen.values(), key=lambda item: item.sample)


def probe(prepared: Prepared, parameters: Mapping[str, Any], scratch: Path) -> Path:
    """Measure the probe's samples; a JSON file with their numbers and the SHA-256 of each table."""
    samples = probe_samples(prepared.samples)
    found = measure(prepared.model, samples, parameters["components"], prepared.vocabulary)
    tables = {name: digest_file(file) for name, file in sorted(found.write(scratch / "probe").items())}
    file = scratch / PROBE
    told = {"samples": [sample.sample for sample in samples], "tables": tables}
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return file


def compute(job: Job) -> Product:
    """The probe alone."""
    prepared = prepare(job)
    file = probe(prepared, job.parameters, job.scratch)
    passes = len(probe_samples(prepared.samples))
    return Product(files={PROBE: file}, costs={"forward_passes": passes, "gpus": prepared.gpus})
