"""How components are shown: labels and colours, apart from what decides a measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """Attributes: label (figures and tables) and color (sRGB hex, from the colour-blind-safe palette of Okabe and Ito)."""

    label: str
    color: str


LEGEND: dict[str, Shown] = {
    "embedding": Shown("embedding", "#999999"),
    "attention_output": Shown("attention output", "#0072B2"),
    "router_logits": Shown("router logits", "#CC79A7"),
    "gate": Shown("gate", "#E69F00"),
    "mlp_output": Shown("MLP or MoE output", "#009E73"),
    "residual": Shown("residual", "#D55E00"),
    "final_norm": Shown("final norm", "#000000"),
}
"""By component, in the order of `COMPONENTS`."""
