"""Kinds of tensors that are quantized, by the components that they consist of."""

from __future__ import annotations

LINEAR_INPUTS = ("attention_input", "attention_context", "mlp_input", "down_input")
"""What W8A8 quantizes."""

TENSORS = {
    "inputs of linear layers": LINEAR_INPUTS,
    "KV cache": ("key", "value"),
    "residual stream": ("residual",),
}
"""W8A8 quantizes the first, the cache the second; the third is what the paper looks at."""

KINDS = {"linear_inputs": (*LINEAR_INPUTS, "expert_down_input"), "kv_cache": TENSORS["KV cache"]}
"""What a study may name in the place of components: the inputs of all linear layers, also of routed experts; the cache."""
