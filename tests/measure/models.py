"""Tiny random models in the real architectures."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    LlamaConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

VOCABULARY, CONTEXT = 96, 64

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.5,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_EXPERTS: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_GEMMA: dict[str, Any] = {**_COMMON, "query_pre_attn_scalar": 8, "sliding_window": 6}
_LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32}
_TOWER: dict[str, Any] = {**_VISION, "depth": 1, "num_heads": 2, "out_hidden_size": 32}
_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def _wrapper(config: Any, text: dict[str, Any], vision: dict[str, Any], **more: Any) -> Any:
    """A vision-language model: the language model is the one that is measured."""
    return functools.partial(config, text_config=text, vision_config=vision, **more)


MODELS: dict[str, Any] = {
    "llama": functools.partial(LlamaConfig, **_COMMON),
    "qwen2": functools.partial(Qwen2Config, **_COMMON),
    "qwen2_5_vl": _wrapper(
        Qwen2_5_VLConfig, {**_COMMON, "rope_parameters": _MROPE}, {**_TOWER, "fullatt_block_indexes": [0]}
    ),
    "qwen3": functools.partial(Qwen3Config, **_COMMON),
    "qwen3_moe": functools.partial(Qwen3MoeConfig, **_COMMON, **_EXPERTS),
    "qwen3_moe:dense_layer": functools.partial(Qwen3MoeConfig, **_COMMON, **_EXPERTS, mlp_only_layers=[1]),
    "qwen3_5": _wrapper(Qwen3_5Config, {**_COMMON, **_LINEAR}, {**_TOWER, "num_position_embeddings": 16}),
    "qwen3_5_moe": _wrapper(
        Qwen3_5MoeConfig,
        {**_COMMON, **_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 24},
        {**_TOWER, "num_position_embeddings": 16},
    ),
    "gemma": functools.partial(GemmaConfig, **_COMMON),
    "gemma2": functools.partial(Gemma2Config, **_GEMMA),
    "gemma3:text": functools.partial(Gemma3TextConfig, **_GEMMA),
    "gemma3": _wrapper(
        Gemma3Config,
        _GEMMA,
        {**_VISION, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        mm_tokens_per_image=4,
    ),
    "gpt_oss": functools.partial(
        GptOssConfig,
        **{**_COMMON, "intermediate_size": 24, "sliding_window": 6},
        num_local_experts=6,
        num_experts_per_tok=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
}
EAGER_ONLY = ("gemma2", "gpt_oss")
"""transformers has no sdpa for their attention."""


def tiny(name: str, dtype: torch.dtype = torch.bfloat16, attention: str = "sdpa", seed: int = 0) -> Any:
    """A seeded model with its language-model head, in evaluation mode."""
    torch.manual_seed(seed)
    config = MODELS[name]()
    auto: Any = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    chosen = "eager" if name in EAGER_ONLY else attention
    return auto.from_config(config, dtype=dtype, attn_implementation=chosen).eval()
