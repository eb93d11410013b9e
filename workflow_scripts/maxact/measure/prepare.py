"""What a job that measures needs: the model, the samples, and the text of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from maxact.checkpoints.load import gpu_names, load_model
from maxact.measure.run import Sample
from maxact.store.job import Job


@dataclass(frozen=True)
class Prepared:
    """Attributes: model, samples in the order of the corpus, vocabulary (text by token id), gpus (their names)."""

    model: Any
    samples: list[Sample]
    vocabulary: dict[int, str]
    gpus: list[str]


def prepare(job: Job) -> Prepared:
    """Read the tokens and open the checkpoint as the job's parameters say."""
    tokens = pq.read_table(job.path("tokens", "tokens.parquet"), columns=["sample", "split", "token_ids"]).to_pylist()
    vocabulary = pq.read_table(job.path("tokens", "vocabulary.parquet")).to_pylist()
    parameters = job.parameters
    model = load_model(
        job.folder("checkpoint"),
        dtype=parameters["dtype"],
        attention=parameters["attention"],
        expected_model_type=parameters["model_type"],
        device=parameters.get("device", "cpu"),
    )
    return Prepared(
        model,
        [Sample(row["sample"], row["split"], tuple(row["token_ids"])) for row in tokens],
        {row["token_id"]: row["text"] for row in vocabulary},
        gpu_names(model),
    )
