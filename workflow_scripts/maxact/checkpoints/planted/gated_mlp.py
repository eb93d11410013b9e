"""A dense gated MLP as planting needs it, and the configuration of a decoder that has one."""

from __future__ import annotations

from typing import Any

from maxact.checkpoints.planted.gadgets import SIZES, Mlp, Neuron

INTERMEDIATE = 128


def sizes(layers: int, vocabulary: int, context: int) -> dict[str, Any]:
    """What the configuration of a tiny dense decoder says in every architecture."""
    shape = {"num_hidden_layers": layers, "vocab_size": vocabulary, "max_position_embeddings": context}
    return {**SIZES, **shape, "intermediate_size": INTERMEDIATE}


def gated_mlp(mlp: Any) -> Mlp:
    """gate_proj, up_proj and down_proj; neuron 0 is planted with."""
    gate, up, down = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
    return Mlp([down], lambda reading, beacon: Neuron(gate[0], up[0], down[:, 0]), gate, down)
