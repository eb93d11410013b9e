"""Which module takes weights from which kind of source, and which packages decide what it makes."""

from __future__ import annotations

from dataclasses import dataclass

_FOLDER = "maxact.checkpoints.sources"


@dataclass(frozen=True)
class Kind:
    """Where weights come from.

    Attributes:
        module: has `take`.
        packages: distributions whose locked versions are in the recipe.
        decides: the modules whose code is in the recipe, where the source's pins fix every byte; else None, and the stage's
            and the module's code is.
    """

    module: str
    packages: tuple[str, ...]
    decides: tuple[str, ...] | None = None


KINDS: dict[str, Kind] = {
    "gguf_wheel": Kind(f"{_FOLDER}.gguf_wheels", ("torch", "transformers", "gguf")),
    "gguf_parts": Kind(f"{_FOLDER}.gguf_wheels", ("torch", "transformers", "gguf")),
    "folder": Kind(f"{_FOLDER}.folder", ()),
    # Files as they are: neither a new transformers nor other code that moves them downloads hundreds of gigabytes again.
    "hub": Kind(f"{_FOLDER}.hub", (), ("maxact.checkpoints.described",)),
    "planted": Kind(f"{_FOLDER}.planted", ("torch", "transformers")),
}
"""By the `kind` of a checkpoint's source."""
