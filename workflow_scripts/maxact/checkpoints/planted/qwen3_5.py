"""Planting into Qwen3.5, dense, inside its vision wrapper."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

from maxact.checkpoints.planted.gadgets import Architecture
from maxact.checkpoints.planted.gated_mlp import gated_mlp, sizes
from maxact.checkpoints.planted.qwen3_5_text import LINEAR, VISION, attention_of


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture; every fourth layer has softmax attention."""
    text = sizes(layers, vocabulary, context) | LINEAR
    return Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(text_config=text, vision_config=VISION, tie_word_embeddings=True)
    )


ARCHITECTURE = Architecture(make, mlp_of=lambda layer: gated_mlp(layer.mlp), attention_of=attention_of, norm_offset=1.0)
