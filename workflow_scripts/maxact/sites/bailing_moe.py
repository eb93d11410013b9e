"""Ling (BailingMoeV2), whose code comes with its checkpoints: module names and what modules return are that code's."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import Found, Place


def block(layer: Any) -> dict[str, Found]:
    """The first blocks are dense, the others have experts; attention and block return tuples, output first.

    A block of experts returns (output, what the router said). Its router, which is named `gate`, returns (indices,
    weights, logits): the logits are last, unlike in transformers. `gate` is the gate projection of the dense MLP or of the
    experts that all tokens share; a routed expert sees some tokens only.
    """
    places: dict[str, Found] = {"attention_output": Place(layer.attention, index=0), "residual": Place(layer, index=0)}
    if not hasattr(layer.mlp, "experts"):
        return places | {"mlp_output": Place(layer.mlp), "gate": Place(layer.mlp.gate_proj)}
    places |= {"mlp_output": Place(layer.mlp, index=0), "router_logits": Place(layer.mlp.gate, index=2)}
    shared = getattr(layer.mlp, "shared_experts", None)
    return places if shared is None else places | {"gate": Place(shared.gate_proj)}
