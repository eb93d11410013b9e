"""The stage `tokenizer`: tokenizer.json and tokenizer_config.json, whatever they come from."""

from __future__ import annotations

import importlib

from maxact.store.job import Job, Product
from maxact.tokenizers.registry import TOKENIZERS


def compute(job: Job) -> Product:
    """What the module of its kind makes."""
    made: Product = importlib.import_module(TOKENIZERS[job.parameters["kind"]].module).make(job)
    return made
