"""Perplexity the plain way: the whole model, all logits of a sample in float64, one token after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch


def perplexity(model: Any, samples: Sequence[Sequence[int]]) -> float:
    """exp of the mean over all predicted tokens of -log p(token | those before it in its sample)."""
    losses = []
    for token_ids in samples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([token_ids])).logits[0].double()
        for position in range(1, len(token_ids)):
            row = logits[position - 1]
            losses.append(float(torch.logsumexp(row, 0) - row[token_ids[position]]))
    return math.exp(math.fsum(losses) / len(losses))
