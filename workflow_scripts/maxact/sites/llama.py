"""Llama, and the checkpoints that share its architecture, such as SmolLM2."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place


def block(layer: Any) -> dict[str, Found]:
    """A pre-norm block: attention (a tuple of output and weights), then a gated MLP."""
    return {
        "attention_output": Place(layer.self_attn, index=0),
        "gate": Place(layer.mlp.gate_proj),
        "mlp_output": Place(layer.mlp),
        "residual": Place(layer),
    }
