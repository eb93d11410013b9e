"""Logits of a causal language model, a few positions at a time: they are as wide as the vocabulary.

Heads are more than a matrix: norms, dense layers, biases, factors (Granite, Cohere, Falcon-H1), caps (Gemma 2). So the model's
own forward makes the logits, with its decoder answering what it has made before, of a part of the positions.

Legend of shapes: T tokens, C channels, V words of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maxact.errors import UserError
from maxact.sites.find import decoder_of

CHUNK = 128
"""Positions whose logits are held at once."""


@dataclass(frozen=True)
class Decoded:
    """A sample and what a decoder has made of it.

    Attributes:
        ids_T: token ids.
        output: what the decoder returns for them: `last_hidden_state` [1, T, C], or where it has the head inside (Llama 4)
            `logits` [1, T, V].
    """

    ids_T: Tensor
    output: Any


def decoded(model: Any, ids_T: Tensor) -> Decoded:
    """A sample passed through the decoder of a model."""
    return Decoded(ids_T, decoder_of(model)(input_ids=ids_T[None], use_cache=False))


def chunks(positions: int) -> Iterator[slice]:
    """All positions in order, `CHUNK` at a time."""
    for start in range(0, positions, CHUNK):
        yield slice(start, min(start + CHUNK, positions))


def logits(model: Any, sample: Decoded, part: slice) -> Tensor:
    """float32 [positions of part, V], as the model's own forward makes them of what its decoder returned.

    Raises:
        UserError: the head takes more of what the decoder returned, of which no part can be told.
        RuntimeError: the model's forward does not call its decoder once.
    """
    made = sample.output
    name = "last_hidden_state" if "last_hidden_state" in made else "logits"
    output = type(made)(**{**made, name: made[name][:, part]})
    try:
        with _answering(decoder_of(model), output):
            found: Tensor = model(input_ids=sample.ids_T[None, part], use_cache=False).logits
    except RuntimeError as error:
        more = [
            field for field, value in made.items() if field != name and isinstance(value, Tensor) and value.ndim > 2
        ]
        if not more or isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(
            f"{model.config.model_type}: no logits of a part of a sample can be made, as its decoder returns {more[0]} as well "
            f"({' '.join(str(error).split())}); leave the checkpoint out"
        ) from None
    return found[0].float()


@contextmanager
def _answering(decoder: Any, output: Any) -> Iterator[None]:
    """Inside, the decoder returns `output` whatever it is given."""
    own = vars(decoder).get("forward")  # as where a model lies on several GPUs
    calls = 0

    def forward(*_: Any, **__: Any) -> Any:
        nonlocal calls
        calls += 1
        return output

    decoder.forward = forward
    try:
        yield
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own
    if calls != 1:
        raise RuntimeError(f"{type(decoder).__name__} was called {calls} times for logits")


def perplexity_of(total: float, tokens: int) -> float:
    """exp of a mean negative log-likelihood; infinite where that is beyond float64."""
    mean = total / tokens
    return math.exp(mean) if mean < 700 else mean if math.isnan(mean) else math.inf
