"""Planting into Qwen3 mixture of experts: the marker is sent to the first expert, whose first neuron is planted with."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from maxact.checkpoints.planted.gadgets import SIZES, Mlp, Neuron, weight_to_read

EXPERTS = 4
INTERMEDIATE = 32


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture, every block with experts."""
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **SIZES,
            num_hidden_layers=layers,
            vocab_size=vocabulary,
            max_position_embeddings=context,
            intermediate_size=128,
            moe_intermediate_size=INTERMEDIATE,
            num_experts=EXPERTS,
            num_experts_per_tok=2,
            norm_topk_prob=True,
            decoder_sparse_step=1,
        )
    )


def mlp_of(layer: Any) -> Mlp:
    """The experts of a block: gate and up are fused, [experts, 2 x intermediate, hidden]."""
    experts = layer.mlp.experts

    def neuron(reading: float, beacon: int) -> Neuron:
        router = layer.mlp.gate.weight
        router[:, beacon] = 0
        # 128 for the first expert and nothing for the others: its share is exactly 1 after the softmax.
        router[0, beacon] = weight_to_read(reading, 128.0)
        return Neuron(experts.gate_up_proj[0, 0], experts.gate_up_proj[0, INTERMEDIATE], experts.down_proj[0, :, 0])

    return Mlp(list(experts.down_proj), neuron, None)
