"""The scales that the elements of a sample, token, group or block share, by policy (`blocks.py` says which there are).

What the policy `mse` tries in blocks is enough: of all scales that the format has, none gives a smaller sum of squared errors.
Let v be the largest |x| of a block of n elements.

* MX. From one power of two to another the grid of the elements changes at its ends alone: below the smallest normal element,
  where half of the scale has half of the steps, and at the largest element L. Let f be the exponent by `floor`, so that
  v / 2^f is from 2^e(L) to below 2^(e(L)+1). Under 2^(f+1) nothing is clipped, so larger scales only lose steps. Under
  2^(f-k) v loses what it lies above L / 2^k; each other element can win half a step of the smallest normal one. For k = 2
  that is, in units of 4^f, of mxfp4 6.25 lost against at most 31 / 16 won, of mxfp6_e2m3 4.5 against 0.13, of the others
  more against less; for greater k v loses more. So f + 1, f and f - 1 are tried, whatever the rounding of the format.
* NVFP4. Let s be the scale of a block, in which e2m1 has 0, 0.5, 1, 1.5, 2, 3, 4, 6. Where v <= 3 s, s / 2 has all that s
  can use. Where v >= 8 s, 2 s is better: v comes nearer by at least 4 s^2, and of the 15 others only those below 2 s have
  wider steps and lose 0.25 s^2 each at most. Between are 13 e4m3 numbers, from 4 below to 8 above the nearest to v / 6. Where
  half of such a number is none, as it is subnormal, or twice it, as that is above 448, 15 hold all that are left.
  v / 4 is among them, the other choice of "Four Over Six" (Cook et al. 2025). The scale of the tensor stays as calibrated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from maxact.quantize.elements import folded, over, quantized, shifted, to_grid
from maxact.quantize.formats import E4M3, ExponentRounding, Floats, Format, Integers, quantile_of
from maxact.quantize.ways import E4M3_BELOW, E4M3_TRIED, EXPONENTS_TRIED, FRACTIONS

E4M3_NUMBERS = 126
"""That are above 0, in their order from 2^-9 to 448."""

_EXPONENTS = (-127, 127)
"""Of E8M0, the scale of MX formats."""


@dataclass(frozen=True)
class Shared:
    """Of groups [..., groups, size], float32 [..., groups, 1].

    Attributes:
        threshold: what a free scale is for; of an asymmetric range the larger end. Not looked at in blocks.
        zero_point: of an asymmetric format.
    """

    scale: Tensor
    threshold: Tensor
    zero_point: Tensor | None = None

    def where(self, chosen: Tensor, other: Shared) -> Shared:
        """This where `chosen`, [..., groups, 1], else the other."""
        zero_point = self.zero_point
        if zero_point is not None:
            assert other.zero_point is not None
            zero_point = torch.where(chosen, zero_point, other.zero_point)
        scale, threshold = (
            torch.where(chosen, mine, its)
            for mine, its in ((self.scale, other.scale), (self.threshold, other.threshold))
        )
        return Shared(scale, threshold, zero_point)


def shared(x: Tensor, finite: Tensor, format: Format, policy: str, largest: float | None) -> Shared:
    """The scale of each group of x [..., groups, size].

    Args:
        x: float32, 0 for what is not finite and where a group is filled up.
        finite: which elements are.
        largest: of `nvfp4`, that the scale of the tensor is for, above 0; by default that of x.
    """
    if policy == "mse":
        return _least_squares(x, format, largest)
    magnitudes = x.abs()
    largest_G = magnitudes.amax(-1, keepdim=True)
    threshold = largest_G if policy == "max" else _quantile(magnitudes, finite, quantile_of(policy))
    return _for(threshold, x, format, largest)


def reconstructed(x: Tensor, how: Shared, format: Format) -> Tensor:
    """Every element of groups quantized and dequantized with their scales."""
    if how.zero_point is None:
        return quantized(x, how.scale, format.elements)
    assert isinstance(format.elements, Integers)
    return shifted(x, how.scale, how.zero_point, format.elements)


def clipped(x: Tensor, how: Shared, format: Format) -> Tensor:
    """How many elements of groups are beyond what their scales can hold, int64 [].

    With an asymmetric format it is by more than half a step, as in `errors.py`.
    """
    x64 = x.double()
    if how.zero_point is not None:
        assert isinstance(format.elements, Integers)
        low = format.elements.lowest - how.zero_point.double() - 0.5
        high = format.elements.highest - how.zero_point.double() + 0.5
        low, high = (
            torch.where(how.scale > 0, steps * how.scale.double(), end)
            for steps, end in ((low, -how.threshold.double()), (high, how.threshold.double()))
        )
        return ((x64 < low) | (x64 > high)).sum()
    limit = how.threshold.double() if format.scaling == "free" else format.elements.largest * how.scale.double()
    return (x64.abs() > limit).sum()


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
    return _exponent(largest, elements, rounding).clamp(*_EXPONENTS)


def _exponent(largest: Tensor, elements: Floats, rounding: ExponentRounding) -> Tensor:
    """As `shared_exponent`, not cut."""
    if rounding == "rceil":
        mantissa, exponent = torch.frexp(over(largest, elements.largest))
        return exponent - (mantissa == 0.5).int()
    mantissa, exponent = torch.frexp(largest)
    found = exponent - 1 - elements.largest_exponent
    if rounding == "ceil":
        found = found + (mantissa > 0.5).int()
    elif rounding == "even":
        found = found + (2 * mantissa >= 2 - 2.0 ** -(elements.mantissa + 1)).int()
    return found


def _for(threshold: Tensor, x: Tensor, format: Format, largest: float | None) -> Shared:
    """The scales of a threshold of each group."""
    elements = format.elements
    if format.scaling == "power_of_two":
        assert isinstance(elements, Floats)
        power = _power(shared_exponent(threshold, elements, format.rounding))
        return Shared(torch.where(threshold > 0, power, 0.0), threshold)
    if format.scaling == "two_level":
        g = _two_level(x, format, largest)
        return Shared(_nearest_e4m3(threshold, g, format) / g, threshold)
    if format.asymmetric:
        assert isinstance(elements, Integers)
        return _range(threshold, x, elements)
    return Shared(over(threshold, elements.largest), threshold)


def _least_squares(x: Tensor, format: Format, largest: float | None) -> Shared:
    """The best of what is tried, for each group."""
    tried = _tried(x, format, largest)
    best, x64 = next(tried), x.double()
    least = folded((reconstructed(x, best, format).double() - x64).square())
    for other in tried:
        lost = folded((reconstructed(x, other, format).double() - x64).square())
        best, least = other.where(lost < least, best), torch.minimum(lost, least)
    return best


def _tried(x: Tensor, format: Format, largest: float | None) -> Iterator[Shared]:
    """What `mse` tries, the largest scale first."""
    whole = x.abs().amax(-1, keepdim=True)
    if format.scaling == "power_of_two":
        assert isinstance(format.elements, Floats)
        exponent = _exponent(whole, format.elements, "floor")
        for above in EXPONENTS_TRIED:
            yield Shared(_power((exponent + above).clamp(*_EXPONENTS)), whole)
    elif format.scaling == "two_level":
        g = _two_level(x, format, largest)
        smallest = (e4m3_rank(_nearest_e4m3(whole, g, format)) - E4M3_BELOW).clamp(1, E4M3_NUMBERS - E4M3_TRIED + 1)
        for above in reversed(range(E4M3_TRIED)):
            yield Shared(e4m3(smallest + above) / g, whole)
    else:
        for fraction in FRACTIONS:
            yield _for(whole * whole.new_full((), fraction), x, format, largest)


def _quantile(magnitudes: Tensor, finite: Tensor, quantile: str) -> Tensor:
    numerator, denominator = Fraction(quantile).as_integer_ratio()
    count = finite.sum(-1, keepdim=True)
    rank = ((count * numerator + denominator - 1) // denominator).clamp(min=1)
    ordered = torch.where(finite, magnitudes, torch.inf).sort(-1).values
    return torch.where(count > 0, ordered.gather(-1, rank - 1), 0.0)


def _range(threshold: Tensor, x: Tensor, elements: Integers) -> Shared:
    """Scale and zero point of the range of each group, cut to +-threshold and widened to hold 0."""
    low = torch.maximum(x.amin(-1, keepdim=True).clamp(max=0.0), -threshold)
    high = torch.minimum(x.amax(-1, keepdim=True).clamp(min=0.0), threshold)
    levels = float(elements.highest - elements.lowest)
    scale = high - low
    # The range may be beyond float32 where its step is not.
    scale = torch.where(torch.isinf(scale), over(high.double() - low.double(), levels).float(), over(scale, levels))
    used = torch.where(scale > 0, scale, 1.0)
    zero_point = torch.round(elements.lowest - low / used).clamp(elements.lowest, elements.highest)
    return Shared(scale, torch.maximum(-low, high), zero_point)


def _power(exponent: Tensor) -> Tensor:
    # From the bits, since a power is not exact on every device; 2^-127 is subnormal.
    return torch.where(exponent > _EXPONENTS[0], exponent + 127 << 23, 1 << 22).view(torch.float32)


def _two_level(x: Tensor, format: Format, largest: float | None) -> Tensor:
    """g = 448 x 6 / largest: a block's scale is an e4m3 number by g."""
    whole = x.abs().amax() if largest is None else x.new_full((), largest)
    return (whole.new_full((), E4M3.largest * format.elements.largest) / whole).clamp(
        max=torch.finfo(torch.float32).max
    )


def _nearest_e4m3(threshold: Tensor, g: Tensor, format: Format) -> Tensor:
    """e4m3(g t / 6) of a block; where it is 0 the block is lost."""
    return to_grid((g * over(threshold, format.elements.largest)).clamp(max=E4M3.largest), E4M3)


def e4m3(rank: Tensor) -> Tensor:
    """The e4m3 number with so many below it from 0 on, int32: its bits, as float32."""
    return torch.where(rank >= 8, (rank << 20) + (120 << 23), 0).view(torch.float32) + torch.where(
        rank < 8, rank.float() * 2.0**-9, 0.0
    )


def e4m3_rank(number: Tensor) -> Tensor:
    """The inverse of `e4m3`."""
    bits = number.contiguous().view(torch.int32)
    return torch.where(number >= 2.0**-6, (bits - (120 << 23)) >> 20, (number * 2.0**9).int())
