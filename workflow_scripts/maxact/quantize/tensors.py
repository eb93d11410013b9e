"""Kinds of tensors that are quantized, by the components that they consist of."""

from __future__ import annotations

LINEAR_INPUTS = ("attention_input", "attention_context", "mlp_input", "down_input")
"""What linear layers are given that are modules of their own, which scales can be exported for."""

NORMED = ("attention_input", "mlp_input")
"""Those that SmoothQuant scales, where a norm gives them."""

ALL_LINEAR_INPUTS = (*LINEAR_INPUTS, "expert_down_input")
"""Linear inputs, and what the down projections of routed experts are given."""

TENSORS = {
    "inputs of linear layers": ALL_LINEAR_INPUTS,
    "KV cache": ("key", "value"),
    "residual stream": ("residual",),
}
"""W8A8 quantizes the first, the cache the second; the third is what the paper looks at."""

KINDS = {"linear_inputs": ALL_LINEAR_INPUTS, "kv_cache": TENSORS["KV cache"]}
"""What a study may name in the place of components: the inputs of all linear layers, also of routed experts; the cache."""
