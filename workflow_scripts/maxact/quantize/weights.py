"""Weights of linear layers and maxima of their columns, read from safetensors one tensor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor

Maxima = npt.NDArray[np.float64]
"""Of channels."""

WIDE = ("BF16", "F16", "F32", "F64")
"""Number types of weights that are what they say, with no scale beside them."""


class Weights:
    """The tensors of a checkpoint folder.

    Attributes:
        names: of all tensors.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files: dict[str, Path] = {}
        self._known: dict[str, Maxima | str] = {}
        for file in files:
            with safe_open(file, framework="pt") as archive:
                self._files |= dict.fromkeys(archive.keys(), file)

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    def column_maxima(self, modules: Sequence[str]) -> Maxima | str:
        """The largest |weight| of each column (a channel of the input) over linear layers, or why it is not known.

        NaN where a column has a NaN.
        """
        found = [self._of(f"{module}.weight") for module in modules]
        wrong = next((one for one in found if isinstance(one, str)), None)
        if wrong is not None:
            return wrong
        maxima = [one for one in found if not isinstance(one, str)]
        if len({len(one) for one in maxima}) > 1:
            return f"the weights of {', '.join(modules)} have not as many columns as each other"
        return np.maximum.reduce(maxima)  # type: ignore[no-any-return]

    def stacked(self, modules: Sequence[str]) -> Tensor:
        """The weights [out, in] of linear layers, as they are stored, one below the other, float32."""
        found = []
        for module in modules:
            name = f"{module}.weight"
            with safe_open(self._files[name], framework="pt") as archive:
                found.append(archive.get_tensor(name).float())
        return torch.cat(found)

    def _of(self, name: str) -> Maxima | str:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> Maxima | str:
        with safe_open(self._files[name], framework="pt") as archive:
            part = archive.get_slice(name)
            if part.get_dtype() not in WIDE or len(part.get_shape()) != 2:
                return f"{name} is stored as {part.get_dtype()} {part.get_shape()}, not as a matrix in 16 bits or more"
            maxima: Maxima = archive.get_tensor(name).abs().amax(0).double().numpy()
            return maxima
