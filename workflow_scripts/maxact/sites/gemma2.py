"""Gemma 2 and the text decoder of Gemma 3.

A norm follows attention and MLP before either is added to the residual stream. As in the paper, `attention_output` and
`mlp_output` are what the modules return, before that norm.
"""

from __future__ import annotations

from maxact.sites.llama import block

__all__ = ["block"]
