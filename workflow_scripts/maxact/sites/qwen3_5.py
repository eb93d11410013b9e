"""The text decoder of Qwen3.5: linear attention in most layers, softmax attention in the others; dense or experts."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place


def block(layer: Any) -> dict[str, Found]:
    """Linear attention returns its output, softmax attention a tuple of output and weights.

    In a block of experts, `gate` is that of the expert that all tokens share.
    """
    linear = hasattr(layer, "linear_attn")
    places: dict[str, Found] = {
        "attention_output": Place(layer.linear_attn) if linear else Place(layer.self_attn, index=0),
        "mlp_output": Place(layer.mlp),
        "residual": Place(layer),
    }
    if hasattr(layer.mlp, "experts"):
        gate = Place(layer.mlp.shared_expert.gate_proj)
        return places | {"router_logits": Place(layer.mlp.gate, index=0), "gate": gate}
    return places | {"gate": Place(layer.mlp.gate_proj)}
