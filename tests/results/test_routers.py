"""Routers and gates of mixtures of experts, and the gates of the dense checkpoints that the study sets beside them."""

from __future__ import annotations

from dataclasses import replace

from results.members import moe, planted, real

from maxact.results.routers import routers_and_gates


def test_a_mixture_has_its_routers_and_gates_and_the_gates_of_its_dense_siblings() -> None:
    dense, mixture, other = real(), moe(), planted()
    questions = {"moe_vs_dense": {"g": [dense.name, mixture.name]}, "scaling": {"s": [other.name, mixture.name]}}
    frame = routers_and_gates([dense, mixture, other], questions)
    assert set(frame.mixture) == {mixture.name}
    own = frame[~frame.dense]
    assert set(own.checkpoint) == {mixture.name}
    assert set(own.component) == {"router_logits", "gate"}
    siblings = frame[frame.dense]
    assert set(siblings.checkpoint) == {dense.name}
    assert set(siblings.component) == {"gate"}
    gates = dense.sites[dense.sites.component == "gate"]
    assert siblings.peak.tolist() == gates.peak.tolist()
    layers = dense.summary["layers"]
    assert siblings.relative_depth.tolist() == [(layer + 1) / layers for layer in gates.layer]


def test_a_layer_of_which_nothing_is_finite_has_a_row_without_a_peak() -> None:
    mixture = moe()
    first = (mixture.sites.component == "router_logits") & (mixture.sites.layer == 0)
    frame = routers_and_gates([replace(mixture, sites=mixture.sites.assign(peak=mixture.sites.peak.mask(first)))], {})
    routers = frame[frame.component == "router_logits"]
    assert routers.peak.isna().tolist() == [layer == 0 for layer in routers.layer]


def test_without_a_router_there_is_nothing() -> None:
    assert routers_and_gates([real(), planted()], {}).empty
