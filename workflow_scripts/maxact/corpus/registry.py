"""Which module builds the corpus by which recipe, and which packages decide its bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Attributes: module (has `samples_of(parameters, tokenizer) -> (samples, shortfall)`) and packages."""

    module: str
    packages: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "packaged_text": Recipe("maxact.corpus.packaged_text"),
    "sampled_dataset": Recipe("maxact.corpus.sampled_dataset", ("datasets", "fonttools")),
    "ready_dataset": Recipe("maxact.corpus.ready_dataset", ("datasets", "fonttools")),
}
"""By the `recipe` of the study's corpus."""
