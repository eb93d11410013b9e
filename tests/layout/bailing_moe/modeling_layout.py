"""A layout test: a tiny model with the module names and return layouts of Ling's code (BailingMoeV2), written for this test.

It proves that the adapter, the checkpoint's own code and the environment work together on such a layout, under transformers
4 and 5. It proves nothing of the code that Ling's checkpoints bring, and its numbers say nothing of Ling.

Shapes: T tokens, H hidden, E experts, K experts chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_layout import LayoutConfig


class Norm(nn.Module):
    """Divides by the root mean square, in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)).to(x.dtype)


class Attention(nn.Module):
    """Query, key and value in one matrix; norms of query and key; a part of each head is rotated."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.pairs, self.size = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        rows = (self.heads + 2 * self.pairs) * self.size
        self.query_key_value = nn.Linear(config.hidden_size, rows, bias=False)
        self.query_layernorm = Norm(self.size, config.rms_norm_eps)
        self.key_layernorm = Norm(self.size, config.rms_norm_eps)
        self.dense = nn.Linear(self.heads * self.size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor, turns: Tensor) -> tuple[Tensor, None, None]:
        together = self.query_key_value(hidden_states).unflatten(-1, (-1, self.size)).transpose(1, 2)
        query, key, value = together.split([self.heads, self.pairs, self.pairs], dim=1)
        query, key = rotate(self.query_layernorm(query), turns), rotate(self.key_layernorm(key), turns)
        key, value = (x.repeat_interleave(self.heads // self.pairs, dim=1) for x in (key, value))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dense(mixed.transpose(1, 2).flatten(-2)), None, None


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the first channels of each head by the angles [T, pairs of channels]; leave the others."""
    width = turns.shape[-1]
    first, second, rest = x[..., :width], x[..., width : 2 * width], x[..., 2 * width :]
    cosine, sine = turns.cos().to(x.dtype), turns.sin().to(x.dtype)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=-1)


class Dense(nn.Module):
    """A gated MLP: that of a dense block, of the experts that all tokens share, or of one expert."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Chooses among the experts of the best groups; returns (indices, shares, logits), the logits in float32."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(config.num_experts, config.hidden_size))
        self.register_buffer("expert_bias", torch.zeros(config.num_experts))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits_TE = linear(hidden_states.flatten(0, -2).float(), self.weight.float())
        share_TE = logits_TE.sigmoid()
        groups = (share_TE + self.expert_bias).unflatten(-1, (self.config.n_group, -1))
        best = groups.topk(2).values.sum(-1).topk(self.config.topk_group).indices
        out = torch.ones(groups.shape[:2], dtype=torch.bool).scatter(1, best, False)
        chosen_TK = (
            groups.masked_fill(out[..., None], -torch.inf).flatten(1).topk(self.config.num_experts_per_tok).indices
        )
        share_TK = share_TE.gather(1, chosen_TK)
        share_TK = share_TK / share_TK.sum(-1, keepdim=True) * self.config.routed_scaling_factor
        return chosen_TK, share_TK, logits_TE


class Experts(nn.Module):
    """Routed experts, each a module of its own, and one for all tokens; returns (output, what the router said)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = nn.ModuleList(Dense(config.hidden_size, width) for _ in range(config.num_experts))
        self.shared_experts = Dense(config.hidden_size, width * config.num_shared_experts)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        chosen_TK, share_TK, logits_TE = self.gate(x)
        x_TH = x.flatten(0, -2)
        routed_TH = torch.zeros_like(x_TH, dtype=torch.float32)
        for number, expert in enumerate(self.experts):
            share_T = (share_TK * (chosen_TK == number)).sum(-1)
            rows = share_T.nonzero().flatten()
            if len(rows):
                routed_TH[rows] = routed_TH[rows] + share_T[rows, None] * expert(x_TH[rows]).float()
        output = routed_TH.to(x.dtype).view_as(x) + self.shared_experts(x)
        return output, (logits_TE.view(*x.shape[:-1], -1), chosen_TK.view(*x.shape[:-1], -1))


class Layer(nn.Module):
    """A block; returns a tuple with the residual stream first."""

    def __init__(self, config: Any, number: int) -> None:
        super().__init__()
        dense = number < config.first_k_dense_replace
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Dense(config.hidden_size, config.intermediate_size) if dense else Experts(config)

    def forward(self, hidden_states: Tensor, turns: Tensor) -> tuple[Tensor]:
        attended, _, _ = self.attention(hidden_states=self.input_layernorm(hidden_states), turns=turns)
        hidden_states = hidden_states + attended
        output = self.mlp(self.post_attention_layernorm(hidden_states))
        return (hidden_states + (output[0] if isinstance(output, tuple) else output),)


class LayoutPreTrainedModel(PreTrainedModel):
    """What both classes share."""

    config_class = LayoutConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding | Router):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class LayoutModel(LayoutPreTrainedModel):
    """The decoder."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.word_embeddings

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutputWithPast:
        width = int(self.config.head_dim * self.config.partial_rotary_factor) // 2
        speeds = self.config.rope_theta ** -(torch.arange(width) / width)
        turns = torch.arange(input_ids.shape[1])[:, None] * speeds
        hidden_states = self.word_embeddings(input_ids)
        for layer in self.layers:
            (hidden_states,) = layer(hidden_states, turns=turns)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states))


class LayoutForCausalLM(LayoutPreTrainedModel):
    """The decoder with its head."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = LayoutModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.word_embeddings

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor, **_: Any) -> CausalLMOutputWithPast:
        return CausalLMOutputWithPast(logits=self.lm_head(self.model(input_ids).last_hidden_state))
