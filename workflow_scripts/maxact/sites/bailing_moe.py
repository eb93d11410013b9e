"""Ling (BailingMoeV2), whose code comes with its checkpoints: module names and what modules return are that code's."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import CHOSEN, Found, Place
from maxact.sites.parts import (
    NO_NORM_AFTER_MLP,
    NO_SHARED_EXPERT,
    NO_SHARED_EXPERT_DOWN,
    OWN_ATTENTION,
    SEPARATE_EXPERTS,
    gated,
    gated_mlp,
    softmax_attention,
)


def block(layer: Any) -> dict[str, Found]:
    """The first blocks are dense, the others have experts; attention and block return tuples, output first.

    Its attention has functions of its own, so that query, key and value cannot be taken. A block of experts returns
    (output, what the router said). Its router, which is named `gate`, returns (indices, weights, logits): the logits are
    last, unlike in transformers. `gate` is the gate projection of the dense MLP or of the experts that all tokens share.
    """
    own = dict.fromkeys(("query", "key", "value"), OWN_ATTENTION)
    places: dict[str, Found] = {**softmax_attention(layer.attention, "dense"), **own}
    mlp = _experts(layer.mlp) if hasattr(layer.mlp, "experts") else gated_mlp(layer.mlp)
    return {**places, **mlp, "residual": Place(layer, index=0)}


def _experts(mlp: Any) -> dict[str, Found]:
    shared = getattr(mlp, "shared_experts", None)
    inside: dict[str, Found] = {"gate": NO_SHARED_EXPERT, "down_input": NO_SHARED_EXPERT_DOWN}
    return {
        CHOSEN: Place(mlp.gate, index=0, experts=len(mlp.experts)),
        "mlp_input": Place(mlp, before=True),
        "router_logits": Place(mlp.gate, index=2),
        **(inside if shared is None else gated(shared)),
        "expert_gate": SEPARATE_EXPERTS,
        "expert_down_input": SEPARATE_EXPERTS,
        "mlp_output": Place(mlp, index=0),
        "mlp_update": NO_NORM_AFTER_MLP,
    }
