"""Planting into Qwen3: dense, with norms of query and key."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3Config, Qwen3ForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return Qwen3ForCausalLM(Qwen3Config(**sizes(layers, vocabulary, context)))


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: gated_mlp(layer.mlp),
    attention_of=lambda layer: softmax_attention(layer.self_attn),
)
