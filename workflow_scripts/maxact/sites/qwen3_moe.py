"""Qwen3 mixture of experts."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place


def block(layer: Any) -> dict[str, Found]:
    """Attention, then either a block of experts or, where the configuration says so, a gated MLP as in dense Qwen3.

    The router returns (logits, scores, indices); the logits are before the softmax. Routed experts are fused and have
    no gate projection of their own to hook, so `gate` is not applicable in a block of experts.
    """
    places: dict[str, Found] = {
        "attention_output": Place(layer.self_attn, index=0),
        "mlp_output": Place(layer.mlp),
        "residual": Place(layer),
    }
    if hasattr(layer.mlp, "experts"):
        return places | {"router_logits": Place(layer.mlp.gate, index=0)}
    return places | {"gate": Place(layer.mlp.gate_proj)}
