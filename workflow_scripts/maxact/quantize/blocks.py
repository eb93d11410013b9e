"""Quantize and dequantize tensors whose scales follow from what shares them: a token, a group of channels, a block.

On any device, in float32, with the definitions of `formats.py`. Elements that are not finite take no part in a scale and
come out as they are. The last group of a row may have fewer channels than the others.

Where all that shares a scale is one sample, row or group, its threshold may be another than the largest |x| v:

* `quantile_<q>`: the smallest |x| of those that share it whose cumulative share is at least q. Of n elements that is v where
  n < 1 / (1 - q).
* `mse`: the multiple of v among `FRACTIONS` under which the sum of squared errors of those that share it is least, the
  largest of equal ones. AWQ's search for clipping tries the same steps, down to 0.55 (Lin et al. 2024, `auto_clip`).

A threshold of 0 clips all to 0. What is computed is the same on every device, and nothing waits for it.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import pad

from maxact.quantize.formats import E4M3, ExponentRounding, Floats, Format, Integers, quantile_of

GROUPS = ("sample", "token", "group_16", "group_32", "group_128")
"""Granularities whose scales follow from the tensor itself (dynamic): all of it, a row, or so many channels of a row."""

FRACTIONS = tuple((20 - step) / 20 for step in range(20))
"""Of the largest |x|, that `mse` tries: 1, 0.95, ... 0.05, in float32."""

_EXPONENTS = (-127, 127)
"""Of E8M0, the scale of MX formats."""


def fake_quantize(
    x: Tensor, format: Format, granularity: str | None = None, largest: float | None = None, policy: str = "max"
) -> Tensor:
    """Every element reconstructed, float32, in the shape of x [..., channels].

    Args:
        x: of any floating dtype.
        granularity: one of `GROUPS`; None for a format with blocks of its own.
        largest: of `nvfp4`, the largest |x| that the scale of the tensor is for, from calibration; by default that of x.
        policy: `max`, `mse` or a quantile; of symmetric formats without blocks.

    Raises:
        ValueError: the granularity is not one of the format's, or the format has no such policy.
    """
    return _reconstructed(x, format, granularity, largest, policy)[0]


def quantized_and_clipped(
    x: Tensor, format: Format, granularity: str | None = None, largest: float | None = None, policy: str = "max"
) -> tuple[Tensor, Tensor]:
    """What `fake_quantize` gives, and how many finite elements are beyond what their scale can hold, int64 [].

    None is where the scale is free and for the largest.
    """
    made, grouped, limit = _reconstructed(x, format, granularity, largest, policy)
    if limit is None:
        return made, x.new_zeros((), dtype=torch.int64)
    return made, (grouped.abs().double() > limit).sum()


def by_channel(x: Tensor, format: Format, largest_C: Tensor) -> Tensor:
    """Every element reconstructed with a static scale of its channel, float32, in the shape of x [..., channels].

    Args:
        largest_C: float32 [channels], what each scale is for; a channel where it is 0, with nothing to calibrate on, stays
            as it is.

    Raises:
        ValueError: the format is a cast, asymmetric, or has blocks of its own.
    """
    if format.scaling != "free" or format.asymmetric:
        raise ValueError(f"{format.name} has no scale by channel")
    known = x.float()
    kept = ~torch.isfinite(known) | (largest_C == 0)
    scale_C = _over(largest_C, format.elements.largest)
    return torch.where(kept, known, _quantized(torch.where(kept, 0.0, known), scale_C, format.elements))


def to_grid(y: Tensor, elements: Floats) -> Tensor:
    """y, float32 and not beyond the largest element, rounded to the grid of the elements, ties to even.

    Of y from 2^e to 2^(e+1) and m bits of fraction, y + 1.5 x 2^(e+23-m) is a float32 whose last bit is worth 2^(e-m), the step
    of the grid; so the addition rounds, and taking the same away again is exact.
    """
    power = (y.view(torch.int32) & 0x7F800000).view(torch.float32)  # 2^e; 0 of a subnormal float32
    shift = power.clamp_(min=2.0**elements.smallest_exponent).mul_(1.5 * 2.0 ** (23 - elements.mantissa))
    return (y + shift).sub_(shift).copysign_(y)


def shared_exponent(largest: Tensor, elements: Floats, rounding: ExponentRounding) -> Tensor:
    """The exponent of the power of two that a block shares, int32, cut to -127 ... 127 (E8M0).

    With e(v) = floor(log2(v)), v the largest |x| of the block, L the largest element:

    * floor: e(v) - e(L) (OCP MX 1.0, section 6.3); v may come out beyond L, and saturates.
    * ceil: as floor, one more unless v is a power of two.
    * even: as floor, of v rounded half up to as many bits of fraction as the element has; for mxfp4 this is what
      compressed-tensors does.
    * rceil: the smallest power of two that is at least v / L, so that nothing saturates.

    Args:
        largest: float32, not negative.
    """
    if rounding == "rceil":
        mantissa, exponent = torch.frexp(_over(largest, elements.largest))
        found = exponent - (mantissa == 0.5).int()
    else:
        mantissa, exponent = torch.frexp(largest)
        found = exponent - 1 - elements.largest_exponent
        if rounding == "ceil":
            found = found + (mantissa > 0.5).int()
        elif rounding == "even":
            found = found + (2 * mantissa >= 2 - 2.0 ** -(elements.mantissa + 1)).int()
    return found.clamp(*_EXPONENTS)


def _reconstructed(
    x: Tensor, format: Format, granularity: str | None, largest: float | None, policy: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `fake_quantize`; x [..., groups, size] with 0 for what is not finite; what the scales can hold, None if it is all."""
    if (format.block is None) != (granularity in GROUPS):
        raise ValueError(f"{format.name}: granularity {granularity!r}; known: {', '.join(GROUPS)}, or None with blocks")
    if format.scaling == "none":
        raise ValueError(f"{format.name} is a cast, which has no scale")
    if policy != "max" and (format.scaling != "free" or format.asymmetric):
        raise ValueError(f"{format.name} has no threshold by {policy}")
    known = x.float()
    if not x.numel() or (format.scaling == "two_level" and largest == 0):
        return known, known, None
    finite = torch.isfinite(known)
    grouped = _sharing(torch.where(finite, known, 0.0), format, granularity)
    limit = None
    if isinstance(format.elements, Integers) and format.asymmetric:
        made = _shifted(grouped, format.elements)
    elif format.scaling == "free":
        threshold = _threshold(grouped, _sharing(finite, format, granularity), format, policy)
        made = _quantized(grouped, _over(threshold, format.elements.largest), format.elements)
        limit = None if policy == "max" else threshold
    else:
        power = format.scaling == "power_of_two"
        scale = _shared_power(grouped, format) if power else _scale_of_block(grouped, format, largest)
        made = _quantized(grouped, scale, format.elements)
        limit = format.elements.largest * scale.double()
    made = made.reshape(x.shape) if granularity == "sample" else made.flatten(-2)[..., : x.shape[-1]]
    return torch.where(finite, made, known), grouped, limit


def _over(x: Tensor, number: float) -> Tensor:
    """x / number, rounded once. By a number alone CUDA multiplies with its rounded reciprocal, which gives other bits."""
    return x / x.new_full((), number)


def _size(granularity: str, x: Tensor) -> int:
    found = re.fullmatch(r"group_(\d+)", granularity)
    return int(found[1]) if found else max(1, x.shape[-1])


def _grouped(x: Tensor, size: int) -> Tensor:
    """[..., groups, size], filled up with zeros, which change no scale."""
    groups = math.ceil(x.shape[-1] / size)
    lacking = groups * size - x.shape[-1]
    return (pad(x, (0, lacking)) if lacking else x).reshape(*x.shape[:-1], groups, size)


def _quantized(x: Tensor, scale: Tensor, elements: Integers | Floats) -> Tensor:
    """x / scale, clamped, rounded, times scale; a scale of zero gives zeros."""
    y = (x / torch.where(scale > 0, scale, 1.0)).clamp_(-elements.largest, elements.largest)
    rounded = to_grid(y, elements) if isinstance(elements, Floats) else y.round_()
    return rounded.mul_(scale)


def _sharing(x: Tensor, format: Format, granularity: str | None) -> Tensor:
    """What shares a scale along the last dimension, filled up with zeros."""
    if granularity == "sample":
        return x.reshape(1, -1)
    return _grouped(x, format.block or _size(granularity or "", x))


def _threshold(x: Tensor, finite: Tensor, format: Format, policy: str) -> Tensor:
    """Of each group of x [..., groups, size], float32 [..., groups, 1]; what is not finite is 0 in x."""
    magnitudes = x.abs()
    largest = magnitudes.amax(-1, keepdim=True)
    if policy == "max":
        return largest
    if policy != "mse":
        numerator, denominator = Fraction(quantile_of(policy)).as_integer_ratio()
        count = finite.sum(-1, keepdim=True)
        rank = ((count * numerator + denominator - 1) // denominator).clamp(min=1)
        ordered = torch.where(finite, magnitudes, torch.inf).sort(-1).values
        return torch.where(count > 0, ordered.gather(-1, rank - 1), 0.0)
    best, least = largest, torch.full_like(largest, torch.inf, dtype=torch.float64)
    for fraction in FRACTIONS:
        threshold = largest * largest.new_full((), fraction)
        made = _quantized(x, _over(threshold, format.elements.largest), format.elements)
        lost = (made.double() - x.double()).square().sum(-1, keepdim=True)
        best, least = torch.where(lost < least, threshold, best), torch.minimum(lost, least)
    return best


def _shifted(x: Tensor, elements: Integers) -> Tensor:
    low, high = x.amin(-1, keepdim=True).clamp(max=0.0), x.amax(-1, keepdim=True).clamp(min=0.0)
    levels = float(elements.highest - elements.lowest)
    scale = high - low
    # The range may be beyond float32 where its step is not.
    scale = torch.where(torch.isinf(scale), _over(high.double() - low.double(), levels).float(), _over(scale, levels))
    used = torch.where(scale > 0, scale, 1.0)
    zero_point = torch.round(elements.lowest - low / used).clamp(elements.lowest, elements.highest)
    q = (torch.round(x / used) + zero_point).clamp(elements.lowest, elements.highest)
    return torch.where(scale > 0, (q - zero_point) * scale, 0.0)


def _shared_power(x: Tensor, format: Format) -> Tensor:
    assert isinstance(format.elements, Floats)
    largest = x.abs().amax(-1, keepdim=True)
    exponent = shared_exponent(largest, format.elements, format.rounding)
    # From the bits, since a power is not exact on every device; 2^-127 is subnormal.
    return torch.where(exponent > _EXPONENTS[0], exponent + 127 << 23, 1 << 22).view(torch.float32)


def _scale_of_block(x: Tensor, format: Format, largest: float | None) -> Tensor:
    """e4m3(g v / 6) / g with g = 448 x 6 / largest; where it rounds to 0 the block is lost."""
    whole = x.abs().amax() if largest is None else x.new_full((), largest)
    g = (whole.new_full((), E4M3.largest * format.elements.largest) / whole).clamp(max=torch.finfo(torch.float32).max)
    local = _over(x.abs().amax(-1, keepdim=True), format.elements.largest)
    return to_grid((g * local).clamp(max=E4M3.largest), E4M3) / g
