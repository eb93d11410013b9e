"""What a router's recorded values are: the authors' files have under one name what each architecture's code returns there."""

from __future__ import annotations

import math
from collections.abc import Mapping

ROUTERS = ("moe_gate", "router_logits")
"""Sites that hold what a router returns."""

INDICES, PROBABILITIES = "indices of experts", "probabilities"

ONE = 1e-3
"""How near to one the mean by the width must be: probabilities that add up to one."""


def held(values: Mapping[str, float], tokens: int | None) -> str | None:
    """What the statistics of a router's site show it to hold, if it is no scores; None where they do not tell.

    Args:
        values: of the site.
        tokens: how many the checkpoint has seen.
    """
    if not {"min", "max", "mean", "count"} <= values.keys() or values["min"] < 0:
        return None
    low, high = values["min"], values["max"]
    if high > 1 and low == int(low) and high == int(high):
        return INDICES
    width = round(values["count"] / tokens) if tokens else 0
    adds_up = width > 1 and math.isclose(values["mean"] * width, 1, abs_tol=ONE)
    return PROBABILITIES if high <= 1 and adds_up else None
