"""The legend of components: names, order, labels and colours, for everything that shows or stores them.

The components are those of "Measuring Maximum Activations in Open Large Language Models" (arXiv 2605.15572).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """A kind of tensor.

    Attributes:
        name: the key used in configuration, tables and code.
        label: what figures and tables print.
        color: sRGB hex, from the colour-blind-safe palette of Okabe and Ito.
        per_layer: whether every layer has one (else it exists once in a model).
        in_M: whether the paper's M ranges over it.
        meaning: one phrase.
    """

    name: str
    label: str
    color: str
    per_layer: bool
    in_M: bool
    meaning: str


_ALL = [
    Component("embedding", "embedding", "#999999", False, True, "what enters the first block, after any scaling"),
    Component("attention_output", "attention output", "#0072B2", True, True, "output of the attention module"),
    Component("router_logits", "router logits", "#CC79A7", True, False, "scores of the experts before any softmax"),
    Component("gate", "gate", "#E69F00", True, False, "gate projection before its activation, dense and shared experts"),
    Component("mlp_output", "MLP or MoE output", "#009E73", True, True, "output of the dense or mixture-of-experts block"),
    Component("residual", "residual", "#D55E00", True, True, "output of the decoder block"),
    Component("final_norm", "final norm", "#000000", False, True, "output of the last normalisation"),
]

COMPONENTS: dict[str, Component] = {component.name: component for component in _ALL}
"""In forward order: embedding, then within each layer, then final norm."""
