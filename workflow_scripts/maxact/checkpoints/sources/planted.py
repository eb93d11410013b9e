"""A planted checkpoint, written by this software."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxact.checkpoints.planted.build import build
from maxact.store.job import Job
from maxact.study import Peak
from maxact.tokenizers.opened import open_tokenizer


def take(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Seeded random weights with a peak; what was planted is told, and nothing that measures reads it."""
    tokenizer = open_tokenizer(job.path("tokenizer", "tokenizer.json"))
    folder = job.scratch / "checkpoint"
    peak, marker = Peak(**source["peak"]), job.parameters["marker"]
    size, context = tokenizer.get_vocab_size(with_added_tokens=True), job.parameters["context"]
    build(
        job.parameters["model_type"], source["layers"], source["seed"], peak, marker["token_id"], size, context, folder
    )
    truth = {"peak": source["peak"], "marker": marker}
    return folder, {"planted": True, "ancestry": "planted", "licence": "Apache-2.0", "source": "this software", **truth}
