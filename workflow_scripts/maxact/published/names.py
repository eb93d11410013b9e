"""The authors' names of sites, and what they are among our components."""

from __future__ import annotations

import re

ONCE = {"embedding_output": "embedding", "final_layernorm": "final_norm"}
"""Sites that exist once in a model, and the component that each is."""

PER_LAYER = {
    "attn_output": "attention_output",
    "mlp_gate": "gate",
    "moe_gate": "router_output",
    "mlp_output": "mlp_output",
    "router_logits": "router_logits",
    "hidden": "residual",
}
"""Sites of each layer, in the authors' order. `moe_gate` is the first thing that the router module returns, which is none of
our components: logits, probabilities or indices of experts, as the architecture has it."""

IN_M = {"embedding", "attention_output", "mlp_output", "residual", "final_norm"}
"""What the authors' global maximum ranges over, and what has the massive-activation test, quantiles and largest values."""

_LAYER = re.compile(rf"layer_(0|[1-9][0-9]{{0,3}})_({'|'.join(PER_LAYER)})")


def component_and_layer(site: str) -> tuple[str, int | None] | None:
    """Component and layer (None: exists once) of a site by the authors' name; None for a name that is none of theirs."""
    if site in ONCE:
        return ONCE[site], None
    found = _LAYER.fullmatch(site)
    return (PER_LAYER[found[2]], int(found[1])) if found else None


def policy(theirs: str) -> str:
    """Our name of a clipping policy: `max_abs` is `max`, `clip_q0.999` is `quantile_0.999`."""
    return "max" if theirs == "max_abs" else theirs.replace("clip_q", "quantile_", 1)


def carries_M(site: str) -> bool:
    """Whether the authors' global maximum ranges over the site."""
    found = component_and_layer(site)
    return found is not None and found[0] in IN_M
