"""Attention as planting needs it: softmax attention of the kind that most architectures share."""

from __future__ import annotations

from typing import Any

from maxact.checkpoints.planted.gadgets import HEAD_DIMENSION, Attention, weight_to_read

SEEN = 16.0
"""What the marker's own value is, which it then sees with a share of exactly 1."""


def softmax_attention(attention: Any, norm_offset: float = 0.0) -> Attention:
    """Head 0 is given to the marker: its query meets its own key with a score so high that its share is exactly 1.

    Args:
        attention: has q_proj, k_proj, v_proj and o_proj, and perhaps q_norm, k_norm, biases and sinks.
        norm_offset: see `Architecture`.
    """

    def write(reading: float, beacon: int) -> tuple[int, float]:
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            if projection.bias is not None:
                projection.bias.zero_()
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[:HEAD_DIMENSION] = 0
            projection.weight[0, beacon] = weight_to_read(reading, 128.0)
        for norm in (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)):
            if norm is not None:
                norm.weight[0] = 64 - norm_offset  # the norm turns 128 alone in its head into 4
        if hasattr(attention, "sinks"):
            attention.sinks.fill_(-30.0)
        attention.v_proj.weight[0] = 0
        attention.v_proj.weight[0, beacon] = weight_to_read(reading, SEEN)
        return 0, SEEN

    return Attention(attention.o_proj.weight, write)
