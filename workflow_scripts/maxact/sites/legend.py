"""How components are shown: labels and colours, apart from what decides a measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """How one component is shown.

    Attributes:
        label: in figures and tables.
        color: sRGB hex, from the colour-blind-safe palette of Okabe and Ito, and beyond it a shade of a related one.
    """

    label: str
    color: str


LEGEND: dict[str, Shown] = {
    "embedding": Shown("embedding", "#999999"),
    "attention_input": Shown("attention input", "#56B4E9"),
    "query": Shown("query", "#8C6BB1"),
    "key": Shown("key", "#4D9221"),
    "value": Shown("value", "#B8860B"),
    "attention_context": Shown("attention context", "#9ECAE1"),
    "attention_output": Shown("attention output", "#0072B2"),
    "attention_update": Shown("attention update", "#08306B"),
    "mlp_input": Shown("MLP or MoE input", "#A1D99B"),
    "router_logits": Shown("router logits", "#CC79A7"),
    "router_output": Shown("router output", "#882255"),
    "gate": Shown("gate", "#E69F00"),
    "expert_gate": Shown("expert gate", "#F0E442"),
    "down_input": Shown("down-projection input", "#74C476"),
    "expert_down_input": Shown("expert down-projection input", "#C7E9C0"),
    "mlp_output": Shown("MLP or MoE output", "#009E73"),
    "mlp_update": Shown("MLP update", "#00441B"),
    "residual": Shown("residual", "#D55E00"),
    "final_norm": Shown("final norm", "#000000"),
}
"""By component, in the order of `COMPONENTS`. `router_output` is none of them: published results have the first thing that
router modules returned, which may be logits, probabilities or indices of experts."""
