"""Qwen3, dense: blocks as in Llama, with norms of query and key inside the attention."""

from __future__ import annotations

from maxact.sites.llama import block

__all__ = ["block"]
