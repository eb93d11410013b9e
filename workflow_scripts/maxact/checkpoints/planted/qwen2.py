"""Planting into Qwen2: dense."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2Config, Qwen2ForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return Qwen2ForCausalLM(Qwen2Config(**sizes(layers, vocabulary, context)))


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: gated_mlp(layer.mlp),
    attention_of=lambda layer: softmax_attention(layer.self_attn),
)
