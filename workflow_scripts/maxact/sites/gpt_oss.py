"""gpt-oss: experts in every block. Their gates are interleaved with the up projections, and taken before the clamp."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place
from maxact.sites.parts import moe_block, softmax_attention


def block(layer: Any) -> dict[str, Found]:
    """The MLP returns (output, scores of the experts chosen); the router (logits, scores, indices)."""
    return {
        **softmax_attention(layer.self_attn),
        **moe_block(layer.mlp, layer.mlp.router, index=0),
        "residual": Place(layer),
    }
