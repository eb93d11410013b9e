"""Planting into Gemma 3 inside its vision wrapper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from maxact.checkpoints.planted import gemma3_text
from maxact.checkpoints.planted.gated_mlp import sizes

VISION: dict[str, Any] = {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
"""A vision tower of the smallest size; no image is ever given to it."""


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    text = sizes(layers, vocabulary, context) | gemma3_text.ATTENTION
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4, tie_word_embeddings=True)
    )


ARCHITECTURE = replace(gemma3_text.ARCHITECTURE, make=make)
