"""What attention functions are given: queries, keys and values after the rotary embedding, before any repetition of heads.

Taken around the function that transformers' attention interface gives out, which then runs as it would, with its mask, sinks
and soft caps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

GIVEN = ("query", "key", "value")
"""In this order, each [batch, heads, tokens, channels of a head]."""


@contextmanager
def wrapped_attention(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Inside, transformers' attention interface gives out `wrap(function)` in the place of each function."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as INTERFACE

    inner, own = INTERFACE.get_interface, "get_interface" in vars(INTERFACE)
    INTERFACE.get_interface = lambda *arguments, **keywords: wrap(inner(*arguments, **keywords))
    try:
        yield
    finally:
        if own:
            INTERFACE.get_interface = inner
        else:
            del INTERFACE.get_interface


@contextmanager
def spied_attention(see: Callable[[Any, dict[str, Tensor]], None]) -> Iterator[None]:
    """Inside, `see` is called with the attention module and what its function is given, before that function runs."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def spy(module: Any, query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> Any:
            see(module, {"query": query, "key": key, "value": value})
            return function(module, query, key, value, *more, **named)

        return spy

    with wrapped_attention(wrap):
        yield
