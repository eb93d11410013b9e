"""Planting into Qwen2.5-VL: Qwen2 inside a vision wrapper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from maxact.checkpoints.planted import qwen2
from maxact.checkpoints.planted.gated_mlp import sizes

VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
    "fullatt_block_indexes": [0],
}
"""A vision tower of the smallest size; no image is ever given to it."""


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    rotary = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [2, 3, 3]}
    text = sizes(layers, vocabulary, context) | {"rope_parameters": rotary}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=VISION, tie_word_embeddings=True)
    )


ARCHITECTURE = replace(qwen2.ARCHITECTURE, make=make)
