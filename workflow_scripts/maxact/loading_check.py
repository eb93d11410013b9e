"""Were the weights loaded rightly? Perplexity on English prose, under a ceiling.

Weights in the wrong order, a rotary base that was lost or a missing scale leave a model that runs and gives activations;
it does not predict text. Every real checkpoint of a study is checked before it is measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy

from maxact.checkpoints.load import gpu_names, load_model
from maxact.errors import UserError
from maxact.likelihood import chunks, decoded, logits, perplexity_of
from maxact.store.job import Job, Product


def perplexity(model: Any, samples: Sequence[Sequence[int]]) -> tuple[float, int]:
    """exp of the mean negative log-likelihood of all predicted tokens of all samples, pooled; and how many they are.

    The first token of a sample is not predicted. Log-likelihoods are float32, their sum is float64.

    Args:
        model: a transformers causal language model.
        samples: token ids, each sample in a forward pass of its own.

    Raises:
        UserError: nothing is predicted.
    """
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for token_ids in samples:
            ids = torch.tensor(token_ids, device=model.device)
            sample = decoded(model, ids)
            for part in chunks(len(ids) - 1):
                found = logits(model, sample, part)
                target = ids[1:][part].to(found.device)
                total += float(cross_entropy(found, target, reduction="none").double().sum())
                tokens += len(found)
    if not tokens:
        raise UserError("loading_check: no token is predicted; its samples have one token each")
    return perplexity_of(total, tokens), tokens


def choose(rows: Sequence[dict[str, Any]], domains: Sequence[str], language: str, tokens: int) -> list[dict[str, Any]]:
    """The first samples of the domains and language that together predict at least `tokens` tokens.

    Raises:
        UserError: the corpus has fewer.
    """
    chosen: list[dict[str, Any]] = []
    predicted = 0
    for row in rows:
        if row["domain"] in domains and row["language"] == language and predicted < tokens:
            chosen.append(row)
            predicted += len(row["token_ids"]) - 1
    if predicted < tokens:
        raise UserError(
            f"loading_check.tokens: {tokens} asked, but the corpus has {predicted} in {', '.join(domains)} ({language}); "
            "ask for fewer or add samples"
        )
    return chosen


def compute(job: Job) -> Product:
    """perplexity.json; a perplexity above the ceiling is an error that stops the study.

    Raises:
        UserError: the perplexity is above the ceiling or not finite, or the corpus has too few tokens.
    """
    asked = job.parameters
    rows = pq.read_table(job.path("tokens", "tokens.parquet")).to_pylist()
    chosen = choose(rows, asked["domains"], asked["language"], asked["tokens"])
    folder, device = job.folder("checkpoint"), asked.get("device", "cpu")
    model = load_model(folder, asked["dtype"], asked["attention"], asked["model_type"], device)
    found, tokens = perplexity(model, [row["token_ids"] for row in chosen])
    if not found <= asked["ceiling"]:
        raise UserError(
            f"checkpoint {job.name}: perplexity {found:.4g} on {tokens} tokens is above its ceiling of {asked['ceiling']:g}; "
            "the weights were not loaded rightly, or perplexity_ceiling is too low"
        )
    result = {
        "perplexity": found,
        "tokens": tokens,
        "ceiling": asked["ceiling"],
        "samples": [row["id"] for row in chosen],
    }
    file = job.scratch / "perplexity.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    summary = {name: result[name] for name in ("perplexity", "tokens", "ceiling")}
    costs = {"forward_passes": len(chosen), "gpus": gpu_names(model)}
    return Product(files={file.name: file}, summary=summary, costs=costs)
