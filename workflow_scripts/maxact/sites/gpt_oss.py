"""gpt-oss: experts in every block, whose gates are fused and interleaved, so that `gate` is not applicable."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place


def block(layer: Any) -> dict[str, Found]:
    """The MLP returns (output, scores of the experts chosen); the router (logits, scores, indices)."""
    return {
        "attention_output": Place(layer.self_attn, index=0),
        "router_logits": Place(layer.mlp.router, index=0),
        "mlp_output": Place(layer.mlp, index=0),
        "residual": Place(layer),
    }
