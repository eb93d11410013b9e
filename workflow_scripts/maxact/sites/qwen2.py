"""Qwen2, Qwen2.5 and the text decoder of Qwen2.5-VL: blocks as in Llama, with biases on query, key and value."""

from __future__ import annotations

from maxact.sites.llama import block

__all__ = ["block"]
