"""Which module plants into which architecture."""

from __future__ import annotations

PLANTED: dict[str, str] = {
    "qwen2": "maxact.checkpoints.planted.qwen2",
    "qwen3_moe": "maxact.checkpoints.planted.qwen3_moe",
}
"""Hugging Face `model_type` -> module with `make(...)` and `mlp_of(...)`."""
