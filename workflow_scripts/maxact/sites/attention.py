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
def spied_attention(see: Callable[[Any, dict[str, Tensor]], None]) -> Iterator[None]:
    """Inside, `see` is called with the attention module and what its function is given, before that function runs."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as INTERFACE

    inner, own = INTERFACE.get_interface, "get_interface" in vars(INTERFACE)

    def get_interface(*arguments: Any, **keywords: Any) -> Any:
        function = inner(*arguments, **keywords)

        def spy(module: Any, query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> Any:
            see(module, {"query": query, "key": key, "value": value})
            return function(module, query, key, value, *more, **named)

        return spy

    INTERFACE.get_interface = get_interface
    try:
        yield
    finally:
        if own:
            INTERFACE.get_interface = inner
        else:
            del INTERFACE.get_interface
