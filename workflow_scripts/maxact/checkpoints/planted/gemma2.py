"""Planting into Gemma 2: as Gemma 1, with norms after attention and MLP, and sliding windows."""

from __future__ import annotations

from math import sqrt
from typing import Any

from transformers import Gemma2Config, Gemma2ForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import HIDDEN, Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return Gemma2ForCausalLM(
        Gemma2Config(**sizes(layers, vocabulary, context), query_pre_attn_scalar=16, sliding_window=64)
    )


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: gated_mlp(layer.mlp),
    attention_of=lambda layer: softmax_attention(layer.self_attn),
    embedding_scale=sqrt(HIDDEN),
    norm_offset=1.0,
    norm_after_mlp=lambda layer: layer.post_feedforward_layernorm,
)
