"""Gemma 1: blocks as in Llama. The embedding scales its own output."""

from __future__ import annotations

from maxact.sites.llama import block

__all__ = ["block"]
