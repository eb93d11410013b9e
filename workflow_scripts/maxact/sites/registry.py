"""Which adapter looks into which architecture."""

from __future__ import annotations

ADAPTERS: dict[str, str] = {
    "llama": "maxact.sites.llama",
    "qwen2": "maxact.sites.qwen2",
    "qwen3_moe": "maxact.sites.qwen3_moe",
}
"""Hugging Face `model_type` -> module with `block(layer)`."""
