"""What was recorded of routers."""

from __future__ import annotations

from collections.abc import Callable

from maxact.published.audit import routers
from maxact.published.files import Published
from published.audit.faults import A, B, put_indices, put_probabilities, put_router, what
from published.tree import EXPERTS


def test_what_routers_hold_is_told_from_their_values(read: Callable[..., Published]) -> None:
    finding = routers.router_outputs(read(lambda f: put_indices(f, A), lambda f: put_probabilities(f, B)))
    assert finding is not None
    assert finding.rows[["checkpoint", "field", "holds", "width"]].to_numpy().tolist() == [
        [A, "moe_gate", "indices of experts", EXPERTS],
        [B, "router_logits", "probabilities", EXPERTS],
    ]
    assert routers.router_outputs(read(lambda f: put_router(f, A))) is None  # scores


def test_only_routers_that_are_faulty_are_described(read: Callable[..., Published]) -> None:
    indices = what(routers.router_outputs(read(lambda f: put_indices(f, A))))
    assert "router_logits" not in indices
    assert "each other" not in indices
    both = what(routers.router_outputs(read(lambda f: put_indices(f, A), lambda f: put_probabilities(f, B))))
    assert f"indices of experts in moe_gate of {A}; probabilities in router_logits of {B}" in both
    assert "router_logits: the second thing that the block of experts returns" in both
    assert "nor with each other" in both
