"""Qwen2 and Qwen2.5: blocks are built as in Llama, with biases on query, key and value."""

from __future__ import annotations

from maxact.sites.llama import block

__all__ = ["block"]
