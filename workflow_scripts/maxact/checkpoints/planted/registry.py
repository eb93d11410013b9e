"""Which module plants into which architecture."""

from __future__ import annotations

_FOLDER = "maxact.checkpoints.planted"

PLANTED: dict[str, str] = {
    model_type: f"{_FOLDER}.{model_type}"
    for model_type in (
        "qwen2", "qwen2_5_vl", "qwen3", "qwen3_moe", "qwen3_5", "qwen3_5_moe", "gemma", "gemma2", "gemma3_text", "gemma3",
        "gpt_oss",
    )
}  # fmt: skip
"""Hugging Face `model_type` -> module with `ARCHITECTURE`."""
