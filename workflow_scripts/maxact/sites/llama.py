"""Llama, and the checkpoints that share its architecture, such as SmolLM2."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place
from maxact.sites.parts import gated_mlp, softmax_attention


def block(layer: Any) -> dict[str, Found]:
    """A pre-norm block: attention (a tuple of output and weights), then a gated MLP."""
    return {**softmax_attention(layer.self_attn), **gated_mlp(layer.mlp), "residual": Place(layer)}
