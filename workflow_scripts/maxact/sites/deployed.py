"""Which components deployment quantizes, by kind."""

from __future__ import annotations

LINEAR_INPUTS = ("attention_input", "attention_context", "mlp_input", "down_input")
"""Inputs of linear layers outside of routed experts: what W8A8 quantizes."""

KV_CACHE = ("key", "value")

KINDS = {
    "linear_inputs": (*LINEAR_INPUTS, "expert_down_input"),
    "kv_cache": KV_CACHE,
}
"""What a study may name in the place of components."""
