"""The text decoder of Qwen3.5: linear attention in most layers, softmax attention in the others; dense or experts."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place
from maxact.sites.parts import NO_NORM_AFTER_ATTENTION, gated, gated_mlp, moe_block, softmax_attention

NO_CACHE = "linear attention keeps no keys and values"


def block(layer: Any) -> dict[str, Found]:
    """Linear attention returns its output, softmax attention a tuple of output and weights.

    The context of both is what the output projection is given, after the gate on it. In a block of experts, `gate` and
    `down_input` are those of the expert that all tokens share.
    """
    linear = hasattr(layer, "linear_attn")
    attention = _linear_attention(layer.linear_attn) if linear else softmax_attention(layer.self_attn)
    experts = hasattr(layer.mlp, "experts")
    mlp = moe_block(layer.mlp, layer.mlp.gate) | gated(layer.mlp.shared_expert) if experts else gated_mlp(layer.mlp)
    return {**attention, **mlp, "residual": Place(layer)}


def _linear_attention(attention: Any) -> dict[str, Found]:
    return {
        "attention_input": Place(attention, before=True),
        "query": NO_CACHE,
        "key": NO_CACHE,
        "value": NO_CACHE,
        "attention_context": Place(attention.out_proj, before=True),
        "attention_output": Place(attention),
        "attention_update": NO_NORM_AFTER_ATTENTION,
    }
