"""Planting into Gemma 1: the embedding is scaled, norms multiply by one more than their weight."""

from __future__ import annotations

from math import sqrt
from typing import Any

from transformers import GemmaConfig, GemmaForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import HIDDEN, Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return GemmaForCausalLM(GemmaConfig(**sizes(layers, vocabulary, context)))


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: gated_mlp(layer.mlp),
    attention_of=lambda layer: softmax_attention(layer.self_attn),
    embedding_scale=sqrt(HIDDEN),
    norm_offset=1.0,
)
