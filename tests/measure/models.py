"""Tiny random models in the real architectures."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3MoeConfig

VOCABULARY, CONTEXT = 96, 64

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.5,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_EXPERTS: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8}

MODELS: dict[str, Any] = {
    "llama": functools.partial(LlamaConfig, **_COMMON),
    "qwen2": functools.partial(Qwen2Config, **_COMMON),
    "qwen3_moe": functools.partial(Qwen3MoeConfig, **_COMMON, **_EXPERTS),
    "qwen3_moe:dense_layer": functools.partial(Qwen3MoeConfig, **_COMMON, **_EXPERTS, mlp_only_layers=[1]),
}


def tiny(name: str, dtype: torch.dtype = torch.bfloat16, attention: str = "sdpa") -> Any:
    """A seeded model with its language-model head, in evaluation mode."""
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    return auto.from_config(MODELS[name](), dtype=dtype, attn_implementation=attention).eval()
