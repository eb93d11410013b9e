"""Planting into Qwen2: dense."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2Config, Qwen2ForCausalLM

from maxact.checkpoints.planted.gadgets import SIZES, Mlp, Neuron


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            **SIZES,
            num_hidden_layers=layers,
            vocab_size=vocabulary,
            max_position_embeddings=context,
            intermediate_size=128,
        )
    )


def mlp_of(layer: Any) -> Mlp:
    """The gated MLP of a block; neuron 0 is planted with."""
    mlp = layer.mlp
    gate, up, down = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
    return Mlp([down], lambda reading, beacon: Neuron(gate[0], up[0], down[:, 0]), gate)
