"""Parts that many families share: softmax attention, a gated MLP, fused experts."""

from __future__ import annotations

from typing import Any

from maxact.sites.find import CHOSEN, Found, Place

NO_NORM_AFTER_ATTENTION = "no norm follows the attention: what is added is attention_output"
NO_NORM_AFTER_MLP = "no norm follows the MLP: what is added is mlp_output"
NO_ROUTER = "a dense MLP has no router"
NO_EXPERTS = "a dense MLP has no experts"
NO_SHARED_EXPERT = "no dense MLP and no shared expert: gates are expert_gate"
NO_SHARED_EXPERT_DOWN = "no dense MLP and no shared expert: inputs are expert_down_input"
SEPARATE_EXPERTS = "each routed expert is a module of its own, which is not told whose rows it is given"
OWN_ATTENTION = "its code does not call the attention functions of transformers"
NO_GATE = "these experts have no gate projection"

IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")
"""The ways in which transformers computes fused experts whose inside can be read."""


def softmax_attention(attention: Any, output: str = "o_proj") -> dict[str, Found]:
    """Attention that returns (output, weights) and calls transformers' attention functions."""
    return {
        "attention_input": Place(attention, before=True),
        "query": Place(attention, inside="query"),
        "key": Place(attention, inside="key"),
        "value": Place(attention, inside="value"),
        "attention_context": Place(getattr(attention, output), before=True),
        "attention_output": Place(attention, index=0),
        "attention_update": NO_NORM_AFTER_ATTENTION,
    }


def gated_mlp(mlp: Any) -> dict[str, Found]:
    """The dense MLP of a block."""
    return {
        "mlp_input": Place(mlp, before=True),
        "router_logits": NO_ROUTER,
        **gated(mlp),
        "expert_gate": NO_EXPERTS,
        "expert_down_input": NO_EXPERTS,
        "mlp_output": Place(mlp),
        "mlp_update": NO_NORM_AFTER_MLP,
    }


def gated(mlp: Any) -> dict[str, Found]:
    """The inside of a gated MLP, or of the expert that all tokens share."""
    return {"gate": Place(mlp.gate_proj), "down_input": Place(mlp.down_proj, before=True)}


def moe_block(mlp: Any, router: Any, index: int | None = None) -> dict[str, Found]:
    """A block of fused experts, whose router returns (logits, scores, indices).

    Args:
        index: the element that is the output, where the block returns a tuple.
    """
    return {
        "mlp_input": Place(mlp, before=True),
        "router_logits": Place(router, index=0),
        "gate": NO_SHARED_EXPERT,
        "down_input": NO_SHARED_EXPERT_DOWN,
        **fused_experts(mlp.experts),
        "mlp_output": Place(mlp, index=index),
        "mlp_update": NO_NORM_AFTER_MLP,
    }


def fused_experts(experts: Any) -> dict[str, Found]:
    """The inside of experts whose weights are in one tensor."""
    told = {CHOSEN: Place(experts, inside="chosen", experts=experts.num_experts)}
    implementation = experts.config._experts_implementation
    if implementation not in IMPLEMENTATIONS:
        hidden = f"experts computed with {implementation!r} hide their inside"
        return {**told, "expert_gate": hidden, "expert_down_input": hidden}
    gate: Found = Place(experts, inside="expert_gate") if experts.has_gate else NO_GATE
    return {**told, "expert_gate": gate, "expert_down_input": Place(experts, inside="expert_down_input")}
