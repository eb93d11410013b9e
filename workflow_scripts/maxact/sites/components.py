"""The components: which kinds of tensor are measured, in which order, and which of them M ranges over.

Those of "Measuring Maximum Activations in Open Large Language Models" (arXiv 2605.15572), and what it left out: what is
really added to the residual stream, the inputs of linear layers, what the cache of keys and values holds, and the inside
of routed experts. How they are shown is in `legend.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """A kind of tensor.

    Attributes:
        per_layer: whether every layer has one (else it exists once in a model).
        in_M: whether the paper's M ranges over it.
        meaning: one phrase.
    """

    per_layer: bool
    in_M: bool
    meaning: str


COMPONENTS: dict[str, Component] = {
    "embedding": Component(False, True, "what enters the first block, after any scaling"),
    "attention_input": Component(True, False, "input of the linear layers that attention begins with"),
    "query": Component(True, False, "queries of all heads, after the rotary embedding"),
    "key": Component(True, False, "keys of all key-value heads, after the rotary embedding"),
    "value": Component(True, False, "values of all key-value heads"),
    "attention_context": Component(True, False, "input of the output projection of the attention"),
    "attention_output": Component(True, True, "output of the attention module"),
    "attention_update": Component(True, False, "what is added for the attention, where a norm follows it"),
    "mlp_input": Component(True, False, "input of the dense or mixture-of-experts block"),
    "router_logits": Component(True, False, "scores of the experts before any softmax"),
    "gate": Component(True, False, "gate projection before its activation, dense and shared experts"),
    "expert_gate": Component(True, False, "gate projection before its activation, routed experts"),
    "down_input": Component(True, False, "input of the down projection, dense and shared experts"),
    "expert_down_input": Component(True, False, "input of the down projection, routed experts"),
    "mlp_output": Component(True, True, "output of the dense or mixture-of-experts block"),
    "mlp_update": Component(True, False, "what is added for the MLP, where a norm follows it"),
    "residual": Component(True, True, "output of the decoder block"),
    "final_norm": Component(False, True, "output of the last normalisation"),
}
"""By name, in forward order: embedding, then within each layer, then final norm."""

PAPER = ("embedding", "attention_output", "router_logits", "gate", "mlp_output", "residual", "final_norm")
"""Those that the paper measures."""

INSIDE_EXPERTS = ("expert_gate", "expert_down_input")
"""Those with a row for each token and expert chosen for it."""
