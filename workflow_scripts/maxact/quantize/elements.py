"""Quantize and dequantize elements that have their scale, as tensors in float32 on any device.

Each operation is rounded once and the same everywhere, so that a GPU gives the bits of a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from maxact.quantize.formats import Floats, Integers


def over(x: Tensor, number: float) -> Tensor:
    """x / number, rounded once. By a number alone CUDA multiplies with its rounded reciprocal, which gives other bits."""
    return x / x.new_full((), number)


def to_grid(y: Tensor, elements: Floats) -> Tensor:
    """y, float32 and not beyond the largest element, rounded to the grid of the elements, ties to even.

    Of y from 2^e to 2^(e+1) and m bits of fraction, y + 1.5 x 2^(e+23-m) is a float32 whose last bit is worth 2^(e-m), the step
    of the grid; so the addition rounds, and taking the same away again is exact.
    """
    power = (y.view(torch.int32) & 0x7F800000).view(torch.float32)  # 2^e; 0 of a subnormal float32
    shift = power.clamp_(min=2.0**elements.smallest_exponent).mul_(1.5 * 2.0 ** (23 - elements.mantissa))
    return (y + shift).sub_(shift).copysign_(y)


def quantized(x: Tensor, scale: Tensor, elements: Integers | Floats) -> Tensor:
    """x / scale, clamped, rounded, times scale; a scale of zero gives zeros."""
    y = (x / torch.where(scale > 0, scale, 1.0)).clamp_(-elements.largest, elements.largest)
    rounded = to_grid(y, elements) if isinstance(elements, Floats) else y.round_()
    return rounded.mul_(scale)


def shifted(x: Tensor, scale: Tensor, zero_point: Tensor, elements: Integers) -> Tensor:
    """x / scale rounded, plus the zero point, clamped, and back; a scale of zero gives zeros."""
    used = torch.where(scale > 0, scale, 1.0)
    q = (torch.round(x / used) + zero_point).clamp(elements.lowest, elements.highest)
    return torch.where(scale > 0, (q - zero_point) * scale, 0.0)


def folded(terms: Tensor) -> Tensor:
    """The sum over the last dimension, which stays with size 1: the second half is added to the first until one is left.

    In this order on every device (and in `compiled_rows.py`), so that of two sums the same is the smaller everywhere.
    """
    while terms.shape[-1] > 1:
        half = (terms.shape[-1] + 1) // 2
        rest = terms[..., half:]
        terms = terms[..., :half] + pad(rest, (0, half - rest.shape[-1]))
    return terms
