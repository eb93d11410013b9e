"""Qwen3 mixture of experts."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place
from maxact.sites.parts import gated_mlp, moe_block, softmax_attention


def block(layer: Any) -> dict[str, Found]:
    """Attention, then either a block of experts or, where the configuration says so, a gated MLP as in dense Qwen3.

    The router returns (logits, scores, indices); the logits are before the softmax. No expert is shared by all tokens.
    """
    experts = hasattr(layer.mlp, "experts")
    mlp = moe_block(layer.mlp, layer.mlp.gate) if experts else gated_mlp(layer.mlp)
    return {**softmax_attention(layer.self_attn), **mlp, "residual": Place(layer)}
