"""A layout test: the configuration of a tiny model with Ling's module names (see modeling_layout.py)."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class LayoutConfig(PretrainedConfig):
    """Sizes. As in Ling's code, the class does not say its model type; config.json does."""

    def __init__(
        self,
        vocab_size: int = 96,
        hidden_size: int = 32,
        intermediate_size: int = 56,
        moe_intermediate_size: int = 24,
        num_hidden_layers: int = 3,
        num_attention_heads: int = 4,
        num_key_value_heads: int = 2,
        head_dim: int = 8,
        partial_rotary_factor: float = 0.5,
        rope_theta: float = 10000.0,
        max_position_embeddings: int = 64,
        rms_norm_eps: float = 1e-6,
        num_experts: int = 8,
        num_experts_per_tok: int = 2,
        n_group: int = 4,
        topk_group: int = 2,
        num_shared_experts: int = 1,
        first_k_dense_replace: int = 1,
        routed_scaling_factor: float = 2.5,
        initializer_range: float = 0.02,
        **others: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.moe_intermediate_size = moe_intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.partial_rotary_factor = partial_rotary_factor
        self.rope_theta = rope_theta
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.num_experts = num_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.n_group = n_group
        self.topk_group = topk_group
        self.num_shared_experts = num_shared_experts
        self.first_k_dense_replace = first_k_dense_replace
        self.routed_scaling_factor = routed_scaling_factor
        self.initializer_range = initializer_range
        super().__init__(**{"tie_word_embeddings": False, **others})
