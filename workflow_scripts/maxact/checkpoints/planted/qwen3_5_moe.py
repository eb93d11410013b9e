"""Planting into Qwen3.5 with experts, of which one is shared by all tokens, inside its vision wrapper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration

from maxact.checkpoints.planted.experts import EXPERTS, INTERMEDIATE, fused_experts
from maxact.checkpoints.planted.gadgets import Architecture, Mlp
from maxact.checkpoints.planted.gated_mlp import sizes
from maxact.checkpoints.planted.qwen3_5_text import LINEAR, VISION, attention_of


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture; every fourth layer has softmax attention."""
    experts = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": INTERMEDIATE}
    text = sizes(layers, vocabulary, context) | LINEAR | experts | {"shared_expert_intermediate_size": INTERMEDIATE}
    return Qwen3_5MoeForConditionalGeneration(
        Qwen3_5MoeConfig(text_config=text, vision_config=VISION, tie_word_embeddings=True)
    )


def _mlp_of(layer: Any) -> Mlp:
    """The routed experts write the peak; the shared expert, which every token passes, has the gate."""
    shared, routed = layer.mlp.shared_expert, fused_experts(layer.mlp.experts, layer.mlp.gate.weight)
    down = shared.down_proj.weight
    return replace(routed, downs=[*routed.downs, down], gate=shared.gate_proj.weight, gate_down=down)


ARCHITECTURE = Architecture(make, mlp_of=_mlp_of, attention_of=attention_of, norm_offset=1.0)
