"""Which module makes which kind of tokenizer, and which packages decide its bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Attributes: module (has `make(job) -> Product`) and packages, whose locked versions are in the recipe."""

    module: str
    packages: tuple[str, ...]


TOKENIZERS: dict[str, Kind] = {
    "trained": Kind("maxact.tokenizers.trained", ("tokenizers",)),
    "hub": Kind("maxact.tokenizers.hub", ()),
}
"""By the `kind` of a tokenizer."""
