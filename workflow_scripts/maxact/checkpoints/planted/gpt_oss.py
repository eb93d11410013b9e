"""Planting into gpt-oss: experts with biases, gate and up interleaved, a clamped activation; attention with sinks."""

from __future__ import annotations

from typing import Any

from transformers import GptOssConfig, GptOssForCausalLM

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.experts import EXPERTS, INTERMEDIATE, send_to_first
from maxact.checkpoints.planted.gadgets import Architecture, Mlp, Neuron
from maxact.checkpoints.planted.gated_mlp import sizes


def make(layers: int, vocabulary: int, context: int) -> Any:
    """A tiny random model in the real architecture, without the stretched rotary embedding of the released one."""
    shape = sizes(layers, vocabulary, context) | {"intermediate_size": INTERMEDIATE, "sliding_window": 64}
    rotary = {"rope_type": "default", "rope_theta": 150000.0}
    experts = {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}
    return GptOssForCausalLM(GptOssConfig(**shape, **experts, rope_parameters=rotary))


def _experts_of(layer: Any) -> Mlp:
    """Weights are [experts, hidden, 2 x intermediate] and [experts, intermediate, hidden]."""
    experts, router = layer.mlp.experts, layer.mlp.router

    def neuron(reading: float, beacon: int) -> Neuron:
        send_to_first(router.weight, reading, beacon)
        for bias in (router.bias, experts.gate_up_proj_bias, experts.down_proj_bias):
            bias.zero_()
        # A gate of 4 passes the sigmoid as 4 in bfloat16 and lies under the clamp at 7; (1 + 1) x 4 = 8.
        gate, up = experts.gate_up_proj[0, :, 0], experts.gate_up_proj[0, :, 1]
        return Neuron(gate, up, experts.down_proj[0, 0], gate=4.0, up=1.0, activation=8.0)

    return Mlp([down.T for down in experts.down_proj], neuron)


ARCHITECTURE = Architecture(make, mlp_of=_experts_of, attention_of=lambda layer: softmax_attention(layer.self_attn))
