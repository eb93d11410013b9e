"""Logits of a causal language model, a few positions at a time: they are as wide as the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 128
"""Positions whose logits are held at once."""


def chunks(positions: int) -> Iterator[slice]:
    """All positions in order, `CHUNK` at a time."""
    for start in range(0, positions, CHUNK):
        yield slice(start, min(start + CHUNK, positions))


def logits(model: Any, states_TC: Tensor) -> Tensor:
    """float32 [T, vocabulary] of the last hidden states of some positions, capped where the architecture caps them."""
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    found: Tensor = model.get_output_embeddings()(states_TC)
    # Gemma 2 caps its logits with tanh.
    return (found if cap is None else torch.tanh(found / cap) * cap).float()


def perplexity_of(total: float, tokens: int) -> float:
    """exp of a mean negative log-likelihood; infinite where that is beyond float64."""
    mean = total / tokens
    return math.exp(mean) if mean < 700 else mean if math.isnan(mean) else math.inf
