"""Routed experts as planting needs them: the marker is sent to the first expert, whose first neuron is planted with."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from maxact.checkpoints.planted.gadgets import Mlp, Neuron, weight_to_read

EXPERTS = 4
INTERMEDIATE = 32


def send_to_first(router: Tensor, reading: float, beacon: int) -> None:
    """Scores [experts, hidden] of 128 for the first expert and nothing for the others: its share is exactly 1."""
    router[:, beacon] = 0
    router[0, beacon] = weight_to_read(reading, 128.0)


def fused_experts(experts: Any, router: Tensor) -> Mlp:
    """Experts whose gate and up are fused, [experts, 2 x intermediate, hidden]; `router` is [experts, hidden]."""

    def neuron(reading: float, beacon: int) -> Neuron:
        send_to_first(router, reading, beacon)
        return Neuron(experts.gate_up_proj[0, 0], experts.gate_up_proj[0, INTERMEDIATE], experts.down_proj[0, :, 0])

    return Mlp(list(experts.down_proj), neuron)
