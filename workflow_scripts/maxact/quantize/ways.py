"""The ways to quantize that `evaluate` compares: a format, and what shares a scale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from maxact.quantize.formats import FORMATS, Format

SAMPLE = "sample"
"""The granularity of a whole tensor whose scale follows from the tensor itself: beside `quantize`, dynamic beside static."""

GRANULARITIES = (SAMPLE, "channel", "token", "group_16", "group_32", "group_128")
"""What shares a scale. `channel`: static, from the channel's largest |x| on the calibration split; the others: dynamic,
from the very elements that share it: all of a sample, a row, or so many channels of a row."""

MAX = "max"
"""The policy that clips nothing."""

FRACTIONS = tuple((20 - step) / 20 for step in range(20))
"""Of the largest |x|, that `mse` tries where any scale can be had: 1, 0.95, ... 0.05, in float32."""

EXPONENTS_TRIED = (1, 0, -1)
"""Above the exponent by `floor`, that `mse` tries in MX blocks."""

E4M3_TRIED, E4M3_BELOW = 15, 4
"""e4m3 numbers that `mse` tries in NVFP4 blocks, and how many of them are below that for the largest |x|."""

BLOCK = "block"
"""The granularity of a format with blocks of its own."""


@dataclass(frozen=True)
class Way:
    """A format with what shares a scale, one of `GRANULARITIES` or `BLOCK`, and how its threshold follows (`clips`)."""

    format: Format
    granularity: str
    policy: str = MAX

    @property
    def group(self) -> int | None:
        """Channels that share a scale; None where that is all, or one."""
        found = re.fullmatch(r"group_(\d+)", self.granularity)
        return int(found[1]) if found else self.format.block

    @property
    def calibrated(self) -> bool:
        """Whether a scale follows from the calibration split: of each channel, or that of the tensor in two levels."""
        return self.granularity == "channel" or self.format.scaling == "two_level"


def clips(granularity: str) -> bool:
    """Whether other policies than `max` can choose a threshold: from the very elements that share it.

    A static scale of a channel has none: a measurement keeps no histogram of a channel, only its largest |x|.
    """
    return granularity != "channel"


def why_not_dynamic(policy: str) -> str | None:
    """Why no dynamic scale can have a policy that is known; None where it can."""
    if policy == "entropy":
        return "entropy is that of a calibration split, which dynamic scales have not; say max, mse or a quantile"
    if len(policy) > len("quantile_0.") + 9:  # the compiled loops count in 64 bits
        return "the quantile of a dynamic scale has at most 9 digits"
    return None


def tries(format: Format, policy: str) -> int:
    """How often every element is reconstructed for a dynamic scale; what a quantile is sorted for is not counted."""
    if policy != "mse":
        return 1
    return {"free": len(FRACTIONS), "power_of_two": len(EXPONENTS_TRIED), "two_level": E4M3_TRIED}[format.scaling]


def ways(formats: Sequence[str], granularities: Sequence[str], policies: Sequence[str] = (MAX,)) -> tuple[Way, ...]:
    """Every format with every granularity and policy that it can have.

    A format with blocks has these alone. An asymmetric one has none by channel: a measurement keeps no smallest and
    largest value of a channel. What cannot clip (`clips`) has the policy `max` alone.
    """
    found = []
    for format in (FORMATS[name] for name in formats):
        for name in [BLOCK] if format.block is not None else granularities:
            if not (name == "channel" and format.asymmetric):
                found += [Way(format, name, policy) for policy in policies if policy == MAX or clips(name)]
    return tuple(found)


def bits_of_scale(format: Format, granularity: str, channels: int | None) -> float:
    """Bits that scales (and zero points) add to an element.

    A free scale is counted as 16 bits, as deployment stores it, the zero point with the bits of an element; a power of two as
    8; in two levels 8 a block. Scales that are known beforehand, of a tensor or its channels, add nothing to what is stored;
    the one of a sample is taken for nothing, as a sample has many elements.

    Args:
        channels: of the tensor; needed where a token shares a scale.
    """
    way = Way(format, granularity)
    if granularity in ("tensor", "channel", SAMPLE) or format.scaling == "none":
        return 0.0
    shared = way.group or channels
    assert shared is not None
    bits = {"free": 16, "power_of_two": 8, "two_level": 8}[format.scaling]
    return (bits + (format.bits if format.asymmetric else 0)) / shared
