"""Which adapter looks into which architecture."""

from __future__ import annotations

ADAPTERS: dict[str, str] = {
    "llama": "maxact.sites.llama",
    "qwen2": "maxact.sites.qwen2",
    "qwen2_5_vl": "maxact.sites.qwen2",
    "qwen3": "maxact.sites.qwen3",
    "qwen3_moe": "maxact.sites.qwen3_moe",
    "qwen3_5": "maxact.sites.qwen3_5",
    "qwen3_5_moe": "maxact.sites.qwen3_5",
    "gemma": "maxact.sites.gemma",
    "gemma2": "maxact.sites.gemma2",
    "gemma3": "maxact.sites.gemma2",
    "gpt_oss": "maxact.sites.gpt_oss",
    "bailing_moe": "maxact.sites.bailing_moe",
}
"""Hugging Face `model_type` -> module with `block(layer)`. The text decoder of a wrapper has the wrapper's adapter."""

OWN_CODE = ("bailing_moe",)
"""Those of them that transformers does not have: their checkpoints bring the code."""


STRUCTURAL = "maxact.sites.structural"
"""Looks into every other architecture, by a trial pass."""


def adapter_of(model_type: str) -> str:
    """The adapter's module. A text decoder's model type is its wrapper's with `_text` after it."""
    return ADAPTERS.get(model_type.removesuffix("_text"), STRUCTURAL)
