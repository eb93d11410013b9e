"""Planting into the text decoder of Qwen3.5: three layers of linear attention, then one of gated softmax attention."""

from __future__ import annotations

from typing import Any

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import HEAD_DIMENSION, KEY_VALUE_HEADS, Attention, weight_to_read

LINEAR: dict[str, Any] = {
    "linear_num_key_heads": KEY_VALUE_HEADS,
    "linear_num_value_heads": KEY_VALUE_HEADS,
    "linear_key_head_dim": HEAD_DIMENSION,
    "linear_value_head_dim": HEAD_DIMENSION,
    "linear_conv_kernel_dim": 4,
}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
}
"""A vision tower of the smallest size; no image is ever given to it."""


def attention_of(layer: Any) -> Attention:
    """Of a block of either kind."""
    if hasattr(layer, "linear_attn"):
        return _linear_attention(layer.linear_attn)
    return _gated_attention(layer.self_attn)


def _gated_attention(attention: Any) -> Attention:
    """Softmax attention whose query projection also gives, head by head, a sigmoid gate of the output."""
    shared = softmax_attention(attention, norm_offset=1.0)

    def write(reading: float, beacon: int) -> tuple[int, float]:
        column, seen = shared.write(reading, beacon)
        gate = attention.q_proj.weight[HEAD_DIMENSION]  # of the first channel of head 0
        gate[:] = 0
        gate[beacon] = weight_to_read(reading, 32.0)  # its sigmoid is 1
        return column, seen

    return Attention(shared.out, write)


def _linear_attention(attention: Any) -> Attention:
    """Gated delta rule: head 0 stores the marker's value under its key and reads it at once with its query.

    Whatever the scale of what is read, the norm of the head turns one channel alone into sqrt(head) = 4; times silu(32).
    """
    heads, key_width = HEAD_DIMENSION, attention.key_dim

    def write(reading: float, beacon: int) -> tuple[int, float]:
        for first in (0, key_width, 2 * key_width):  # query, key, value
            attention.in_proj_qkv.weight[first : first + heads] = 0
            attention.in_proj_qkv.weight[first, beacon] = weight_to_read(reading, 32.0)
            attention.conv1d.weight[first] = 0
            attention.conv1d.weight[first, 0, -1] = 1  # the token itself, none before it
        for projection in (attention.in_proj_z, attention.in_proj_b):
            projection.weight[0] = 0
            projection.weight[0, beacon] = weight_to_read(reading, 32.0)
        return 0, 4 * 32.0

    return Attention(attention.out_proj.weight, write)
