"""Quantizers as functions of tensors in a forward pass.

What they return has the dtype of the tensor: a dequantized value is rounded to it, as by a kernel that dequantizes to
bfloat16. Elements that are not finite come out as they are.

A tensor of 16 bits with one static scale is looked up: 65,536 bit patterns, each reconstructed by `reconstruct` beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import code_values, finite_codes
from maxact.quantize.blocks import by_channel, fake_quantize
from maxact.quantize.formats import Format
from maxact.quantize.quantizers import Quantizer, reconstruct

FakeQuantize = Callable[[Tensor], Tensor]
"""x [..., channels] quantized and dequantized, in the shape and dtype of x."""


class LookedUp:
    """A quantizer of whole tensors of one 16-bit dtype, as a table of what becomes of each bit pattern."""

    def __init__(self, how: Quantizer, dtype: str) -> None:
        """Args: dtype: "bfloat16" or "float16"."""
        with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
            values, finite = code_values(dtype).astype(np.float32), finite_codes(dtype)
        values[finite] = reconstruct(values[finite], how)
        self._table = torch.from_numpy(values).to(getattr(torch, dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Every element looked up, on the device of x.

        Raises:
            TypeError: x has another dtype than the table.
        """
        if x.dtype != self._table.dtype:
            raise TypeError(f"a table for {self._table.dtype} is given {x.dtype}")
        self._table = self._table.to(x.device)
        return torch.take(self._table, x.view(torch.int16).to(torch.int64) & 0xFFFF)


def cast(format: Format) -> FakeQuantize:
    """A format without a scale; what is beyond its largest value becomes infinite."""
    dtype: torch.dtype = getattr(torch, format.name)
    return lambda x: x.to(dtype).to(x.dtype)


def dynamic(format: Format, granularity: str | None, largest: float | None = None, policy: str = "max") -> FakeQuantize:
    """Scales from the tensor itself, as `fake_quantize` has them."""
    return lambda x: fake_quantize(x, format, granularity, largest, policy).to(x.dtype)


def static(format: Format, largest: float) -> FakeQuantize:
    """One scale for a whole tensor of any dtype, symmetric, for the largest |x| on the calibration split."""
    return lambda x: by_channel(x, format, torch.tensor(largest, dtype=torch.float32, device=x.device)).to(x.dtype)


def smoothed(how: FakeQuantize, scale_C: npt.NDArray[np.float32]) -> FakeQuantize:
    """x / s quantized and multiplied with s again, in float32: what a layer with weights s W makes of x / s.

    Args:
        how: is given x / s, float32.
        scale_C: s of `smoothing.py`.
    """
    s_C = torch.from_numpy(scale_C)

    def apply(x: Tensor) -> Tensor:
        s = s_C.to(x.device)
        return (how(x.float() / s) * s).to(x.dtype)

    return apply
