"""Planting into Qwen3 mixture of experts."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.experts import EXPERTS, INTERMEDIATE, fused_experts
from maxact.checkpoints.planted.gadgets import Architecture
from maxact.checkpoints.planted.gated_mlp import sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture, every block with experts."""
    experts = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": INTERMEDIATE}
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**sizes(layers, vocabulary, context), **experts, norm_topk_prob=True, decoder_sparse_step=1)
    )


ARCHITECTURE = Architecture(
    make,
    mlp_of=lambda layer: fused_experts(layer.mlp.experts, layer.mlp.gate.weight),
    attention_of=lambda layer: softmax_attention(layer.self_attn),
)
