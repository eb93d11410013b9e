"""The number formats: which values an element can take, and how its scale is chosen.

An element is an integer, or a floating-point number with few bits:

* `int<b>`: b bits, from -(2^(b-1) - 1) to 2^(b-1) - 1, no zero point (the INT-8 check of arXiv 2605.15572).
  `int<b>_asymmetric`: from -2^(b-1) to 2^(b-1) - 1, with a zero point, so that the range need not be around 0
  (ONNX, operator QuantizeLinear).
* `fp8_e4m3`, `fp8_e5m2`: OCP 8-bit Floating Point Specification (OFP8) 1.0. Largest values 448 and 57,344; conversion
  saturates.
* `mxfp8_e4m3`, `mxfp8_e5m2`, `mxfp6_e2m3`, `mxfp6_e3m2`, `mxfp4`: OCP Microscaling Formats (MX) 1.0. Blocks of 32 along
  the channels share a power of two. Section 6.3 of that specification takes floor(log2(largest |x|)) less the exponent
  of the largest element (`floor`, the default here); a name that ends in `_ceil`, `_even` or `_rceil` has the other
  roundings that libraries use (`shared_exponent` in `blocks.py` says what each does).
* `nvfp4`: blocks of 16 e2m1 elements; the scale of a block is an e4m3 number, times one float32 scale of the tensor.
* `float16` (IEEE 754 binary16) and `bfloat16`: a cast without a scale; what is too large becomes infinite.

All roundings are to nearest, ties to even. Imports neither torch nor numba: a study is validated with it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

Scaling = Literal["free", "power_of_two", "two_level", "none"]
ExponentRounding = Literal["floor", "ceil", "even", "rceil"]


@dataclass(frozen=True)
class Integers:
    """Whole numbers from `lowest` to `highest`."""

    bits: int
    symmetric: bool

    @property
    def lowest(self) -> int:
        return -self.highest if self.symmetric else -self.highest - 1

    @property
    def highest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def largest(self) -> float:
        """The largest magnitude that a threshold is brought to."""
        return float(self.highest)


@dataclass(frozen=True)
class Floats:
    """Floating-point numbers with subnormals.

    Attributes:
        mantissa: bits of the fraction.
        smallest_exponent: of the normal numbers; subnormals have its quantum.
        largest: the largest finite magnitude.
        infinite: whether what rounds beyond it becomes infinite; else it saturates.
    """

    bits: int
    mantissa: int
    smallest_exponent: int
    largest: float
    infinite: bool = False

    @property
    def largest_exponent(self) -> int:
        """floor(log2(largest))."""
        return int(self.largest).bit_length() - 1


E4M3 = Floats(8, 3, -6, 448.0)
E5M2 = Floats(8, 2, -14, 57344.0)
E2M3 = Floats(6, 3, 0, 7.5)
E3M2 = Floats(6, 2, -2, 28.0)
E2M1 = Floats(4, 1, 0, 6.0)
FLOAT16 = Floats(16, 10, -14, 65504.0, infinite=True)
BFLOAT16 = Floats(16, 7, -126, float((2 - 2**-7) * 2.0**127), infinite=True)


@dataclass(frozen=True)
class Format:
    """A number format by its name in studies and tables.

    Attributes:
        elements: what an element can be.
        scaling: how a scale is chosen. "free": any float32; "none": a cast.
        block: elements along the channels that share a scale, where the format fixes that.
        rounding: of the shared exponent of "power_of_two".
    """

    name: str
    elements: Integers | Floats
    scaling: Scaling = "free"
    block: int | None = None
    rounding: ExponentRounding = "floor"

    @property
    def asymmetric(self) -> bool:
        return isinstance(self.elements, Integers) and not self.elements.symmetric

    @property
    def bits(self) -> int:
        """Of an element, without its share of a scale."""
        return self.elements.bits


_MX = {"mxfp8_e4m3": E4M3, "mxfp8_e5m2": E5M2, "mxfp6_e2m3": E2M3, "mxfp6_e3m2": E3M2, "mxfp4": E2M1}
_ROUNDINGS: tuple[ExponentRounding, ...] = ("floor", "ceil", "even", "rceil")

FORMATS: dict[str, Format] = {
    item.name: item
    for item in (
        *(Format(f"int{bits}", Integers(bits, True)) for bits in range(2, 17)),
        *(Format(f"int{bits}_asymmetric", Integers(bits, False)) for bits in range(2, 17)),
        Format("fp8_e4m3", E4M3),
        Format("fp8_e5m2", E5M2),
        *(
            Format(name if rounding == "floor" else f"{name}_{rounding}", elements, "power_of_two", 32, rounding)
            for name, elements in _MX.items()
            for rounding in _ROUNDINGS
        ),
        Format("nvfp4", E2M1, "two_level", 16),
        Format("float16", FLOAT16, "none"),
        Format("bfloat16", BFLOAT16, "none"),
    )
}
"""Every format, by name."""

POLICIES = ("max", "mse", "entropy")
"""Beside quantiles, `quantile_<q>`."""

NO_POLICY = "none"
"""What stands in tables for the policy of a cast, which has no threshold to choose."""


def is_policy(name: str) -> bool:
    """Whether `name` is a clipping policy: `max`, `mse`, `entropy` or `quantile_0.<digits>`, the last not 0."""
    return name in POLICIES or re.fullmatch(r"quantile_0\.\d*[1-9]", name) is not None


def quantile_of(policy: str) -> str:
    """q of the policy `quantile_<q>`, in decimal digits."""
    return policy.removeprefix("quantile_")


@functools.cache
def known_formats() -> str:
    """The formats in words, for messages."""
    return "int2 to int16 (_asymmetric), " + ", ".join(name for name in FORMATS if not name.startswith("int"))
