"""Which module takes weights from which kind of source, and which packages decide what it makes."""

from __future__ import annotations

from dataclasses import dataclass

_FOLDER = "maxact.checkpoints.sources"


@dataclass(frozen=True)
class Kind:
    """Attributes: module (has `take`) and packages, whose locked versions are in the recipe."""

    module: str
    packages: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "gguf_wheel": Kind(f"{_FOLDER}.gguf_wheels", ("torch", "transformers", "gguf")),
    "gguf_parts": Kind(f"{_FOLDER}.gguf_wheels", ("torch", "transformers", "gguf")),
    "folder": Kind(f"{_FOLDER}.folder", ()),
    "hub": Kind(f"{_FOLDER}.hub", ()),  # files as they are: a new transformers downloads nothing again
    "planted": Kind(f"{_FOLDER}.planted", ("torch", "transformers")),
}
"""By the `kind` of a checkpoint's source."""
