"""Planting into Gemma 3, text only: as Gemma 2, with norms of query and key."""

from __future__ import annotations

from math import sqrt
from typing import Any

from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import HEAD_DIMENSION, HIDDEN, Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes

ATTENTION = {"query_pre_attn_scalar": HEAD_DIMENSION, "sliding_window": 64}


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return Gemma3ForCausalLM(Gemma3TextConfig(**sizes(layers, vocabulary, context), **ATTENTION))


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: gated_mlp(layer.mlp),
    attention_of=lambda layer: softmax_attention(layer.self_attn, norm_offset=1.0),
    embedding_scale=sqrt(HIDDEN),
    norm_offset=1.0,
    norm_after_mlp=lambda layer: layer.post_feedforward_layernorm,
)
