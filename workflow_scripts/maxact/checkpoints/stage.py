"""The stage `checkpoint`: weights in the store, whatever they come from."""

from __future__ import annotations

import importlib

from maxact.checkpoints.described import described
from maxact.checkpoints.folder import check_model_type, checkpoint_files
from maxact.checkpoints.sources.registry import KINDS
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """config.json, safetensors and tokenizer files; the summary says what the checkpoint is and where it comes from."""
    source = job.parameters["source"]
    folder, told = importlib.import_module(KINDS[source["kind"]].module).take(job, source)
    check_model_type(folder, job.name, job.parameters["model_type"])
    files = {file.name: file for file in checkpoint_files(folder)}
    return Product(files=files, summary={**described(job.name, folder, files), **told})
