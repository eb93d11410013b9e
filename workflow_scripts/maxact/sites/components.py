"""The components: which kinds of tensor are measured, in which order, and which of them M ranges over.

They are those of "Measuring Maximum Activations in Open Large Language Models" (arXiv 2605.15572). How they are shown is in
`legend.py`.
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
    "attention_output": Component(True, True, "output of the attention module"),
    "router_logits": Component(True, False, "scores of the experts before any softmax"),
    "gate": Component(True, False, "gate projection before its activation, dense and shared experts"),
    "mlp_output": Component(True, True, "output of the dense or mixture-of-experts block"),
    "residual": Component(True, True, "output of the decoder block"),
    "final_norm": Component(False, True, "output of the last normalisation"),
}
"""By name, in forward order: embedding, then within each layer, then final norm."""
