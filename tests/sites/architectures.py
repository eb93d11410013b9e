"""Tiny random models of every causal language model in transformers, built from its configuration class."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

NAMES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "emb_dim", "embedding_size", "embed_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads",), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(("head_dim", "kv_channels", "attention_head_dim", "attention_hidden_dim"), 16),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "d_ff", "decoder_ffn_dim", "encoder_ffn_dim"), 112),
    **dict.fromkeys(("ffn_hidden_size", "dim_ff", "n_ff", "feed_forward_size", "shared_intermediate_size"), 112),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "context_length"), 64
    ),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts"), 6),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "expert_intermediate_size", "shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 24),
    **dict.fromkeys(
        ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "linear_key_head_dim", "linear_value_head_dim"), 16
    ),
    **dict.fromkeys(("linear_num_key_heads",), 2),
    **dict.fromkeys(("linear_num_value_heads",), 4),
    **dict.fromkeys(("sliding_window", "attention_window", "local_window_size", "sliding_window_size"), 8),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "n_shared_experts", "num_shared_experts"), 1),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "num_nextn_predict_layers"), 1),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size"), 8),
    **dict.fromkeys(("hidden_size_per_layer_input",), 16),
    **dict.fromkeys(("vocab_size_per_layer_input",), 96),
    "initializer_range": 0.2,
}
"""By attribute; those that a configuration has as a number are set."""

MORE: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "bailing_hybrid": {"n_group": 1, "topk_group": 1},
    "codegen": {"rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2},
    "ministral": {"head_dim": 16},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "dots1": {"n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gemma4_unified": {"per_layer_config": {1: {"head_dim": 16}, 3: {"head_dim": 16}}},
    "dots3_note": {"num_key_value_heads": None},
    "dots3_note_text": {"num_key_value_heads": None},
    "prophetnet": {"num_encoder_layers": 4, "num_decoder_layers": 4, "num_hidden_layers": None},
    "xlnet": {"max_position_embeddings": None},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "hybrid_layer_ids": [1, 3]},
    "longcat_flash": {"head_dim": 16},
    "gemma4": {"per_layer_config": {1: {"head_dim": 16}, 3: {"head_dim": 16}}},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("sliding_attention", "full_attention")
        },
    },
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": (16, 48), "axial_pos_shape": (8, 8)},
    "zaya": {"num_experts_per_tok": 1, "moe_router_topk": 1},
    "xlm": {"emb_dim": 64, "n_words": 96, "vocab_size": 96},
    "xmod": {"default_language": "en_XX"},
    "falcon_h1": {"mamba_d_ssm": 128},
}
"""What the attributes above do not settle, for each family; None leaves the default."""


NOT_BUILT = {
    "blt": "building its smallest model takes over a minute",
    "gemma3n": "its vision tower needs the package timm",
}
FLOAT32 = ("inkling2_text", "reformer", "xlnet")
"""Their code mixes dtypes and runs in 32 bits only."""


def small(config: Any) -> dict[str, Any]:
    """What to make smaller in a configuration."""
    chosen: dict[str, Any] = {}
    if hasattr(config, "qk_rope_head_dim"):  # each head has its own keys
        chosen["num_key_value_heads"] = 4
    layers = next(
        (getattr(config, n) for n in ("num_hidden_layers", "n_layer", "num_layers") if hasattr(config, n)), None
    )
    for name, value in SMALL.items():
        known = _number(config, name)
        if known is not None:
            chosen.setdefault(config.attribute_map.get(name, name), value)
    for name, value in vars(config).items():
        if isinstance(value, list | tuple) and layers and len(value) == layers and not name.startswith("_"):
            kinds = list(dict.fromkeys(value)) if all(isinstance(item, str) for item in value) else None
            chosen[name] = [*kinds, *value][:4] if kinds and len(kinds) <= 4 else list(value[:4])
    for special in ("bos_token_id", "eos_token_id", "pad_token_id"):
        known = getattr(config, special, None)
        if isinstance(known, int) and known >= 96:
            chosen[special] = 0
    return chosen


def _number(config: Any, name: str) -> Any:
    """The value of an attribute that can be set to another number, else None."""
    own = getattr(type(config), config.attribute_map.get(name, name), None)
    if isinstance(own, property) and own.fset is None:
        return None
    try:
        known = getattr(config, name, None)
    except Exception:  # attributes that differ between layers
        return None
    if name == "head_dim" and hasattr(config, "qk_rope_head_dim"):
        return None
    return known if isinstance(known, int | float) and not isinstance(known, bool) else None


def _chosen(config: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in {**small(config), **MORE.get(name, {})}.items() if value is not None}


def configuration(name: str) -> Any:
    """A configuration that is small enough for tests."""
    kind = CONFIG_MAPPING[name]
    default = kind()
    text = default.get_text_config(decoder=True)
    if text is not default and not default.is_encoder_decoder:
        chosen = _chosen(text, name)
        field = next(field for field, value in vars(default).items() if value is text)
        return kind(**{field: {**text.to_dict(), **chosen}})
    chosen = _chosen(default, name)
    if default.is_encoder_decoder:
        chosen |= {"is_encoder_decoder": False}
    if hasattr(default, "is_decoder"):
        chosen.setdefault("is_decoder", True)
    return kind(**chosen)


def build(name: str) -> Any:
    """A seeded model in evaluation mode, in which no weight is constant."""
    config, dtype = configuration(name), torch.float32 if name in FLOAT32 else torch.bfloat16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape).to(parameter.dtype) * 0.2
                if parameter.dim() < 2 or not parameter.std() > 0.02:
                    parameter.add_(noise)
    return model
