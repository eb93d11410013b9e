"""Gemma 2 and the text decoder of Gemma 3.

A norm follows attention and MLP before either is added to the residual stream. As in the paper, `attention_output` and
`mlp_output` are what the modules return, before that norm; the updates are after it.
"""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place
from maxact.sites.parts import gated_mlp, softmax_attention


def block(layer: Any) -> dict[str, Found]:
    """The norm that is named `post_attention_layernorm` follows the attention, unlike in Llama."""
    return {
        **softmax_attention(layer.self_attn),
        "attention_update": Place(layer.post_attention_layernorm),
        **gated_mlp(layer.mlp),
        "mlp_update": Place(layer.post_feedforward_layernorm),
        "residual": Place(layer),
    }
