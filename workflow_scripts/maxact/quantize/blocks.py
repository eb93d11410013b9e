"""Quantize and dequantize tensors whose scales follow from what shares them: a token, a group of channels, a block.

On any device, in float32, with the definitions of `formats.py`. Elements that are not finite take no part in a scale and
come out as they are. The last group of a row may have fewer channels than the others.

The scale of what shares one follows from a threshold, which is the largest |x| v of it or, by another policy:

* `quantile_<q>`: the smallest |x| of those that share it whose cumulative share is at least q. Of n elements that is v where
  n < 1 / (1 - q).
* `mse`: that under which the sum of squared errors of those that share it is least, the largest of equal ones, among so many
  that are tried. Where any scale can be had they are multiples of v, `ways.FRACTIONS`; AWQ's search for clipping tries the same
  steps, down to 0.55 (Lin et al. 2024, `auto_clip`). Of blocks, scales are tried (`shared_scales.py`): no other scale that the
  format has would be better.

An asymmetric range is cut to +-threshold. A threshold of 0 clips all to 0. What is computed is the same on every device, and
nothing waits for it.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor
from torch.nn.functional import pad

from maxact.quantize.elements import over, quantized
from maxact.quantize.formats import Format
from maxact.quantize.shared_scales import Shared, clipped, reconstructed, shared

GROUPS = ("sample", "token", "group_16", "group_32", "group_128")
"""Granularities whose scales follow from the tensor itself (dynamic): all of it, a row, or so many channels of a row."""


def fake_quantize(
    x: Tensor, format: Format, granularity: str | None = None, largest: float | None = None, policy: str = "max"
) -> Tensor:
    """Every element reconstructed, float32, in the shape of x [..., channels].

    Args:
        x: of any floating dtype.
        granularity: one of `GROUPS`; None for a format with blocks of its own.
        largest: of `nvfp4`, the largest |x| that the scale of the tensor is for, from calibration; by default that of x.
        policy: `max`, `mse` or a quantile.

    Raises:
        ValueError: the granularity is not one of the format's.
    """
    return _reconstructed(x, format, granularity, largest, policy)[0]


def quantized_and_clipped(
    x: Tensor, format: Format, granularity: str | None = None, largest: float | None = None, policy: str = "max"
) -> tuple[Tensor, Tensor]:
    """What `fake_quantize` gives, and how many finite elements are beyond what their scale can hold, int64 [].

    None is where the scale is free and for the largest.
    """
    made, grouped, how = _reconstructed(x, format, granularity, largest, policy)
    if how is None or (format.scaling == "free" and policy == "max"):
        return made, x.new_zeros((), dtype=torch.int64)
    return made, clipped(grouped, how, format)


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
    scale_C = over(largest_C, format.elements.largest)
    return torch.where(kept, known, quantized(torch.where(kept, 0.0, known), scale_C, format.elements))


def _reconstructed(
    x: Tensor, format: Format, granularity: str | None, largest: float | None, policy: str
) -> tuple[Tensor, Tensor, Shared | None]:
    """As `fake_quantize`; x [..., groups, size] with 0 for what is not finite, and its scales, None if there are none."""
    if (format.block is None) != (granularity in GROUPS):
        raise ValueError(f"{format.name}: granularity {granularity!r}; known: {', '.join(GROUPS)}, or None with blocks")
    if format.scaling == "none":
        raise ValueError(f"{format.name} is a cast, which has no scale")
    known = x.float()
    if not x.numel() or (format.scaling == "two_level" and largest == 0):
        return known, known, None
    finite = torch.isfinite(known)
    grouped = _sharing(torch.where(finite, known, 0.0), format, granularity)
    how = shared(grouped, _sharing(finite, format, granularity), format, policy, largest)
    made = reconstructed(grouped, how, format)
    made = made.reshape(x.shape) if granularity == "sample" else made.flatten(-2)[..., : x.shape[-1]]
    return torch.where(finite, made, known), grouped, how


def _size(granularity: str, x: Tensor) -> int:
    found = re.fullmatch(r"group_(\d+)", granularity)
    return int(found[1]) if found else max(1, x.shape[-1])


def _grouped(x: Tensor, size: int) -> Tensor:
    """[..., groups, size], filled up with zeros, which change no scale."""
    groups = math.ceil(x.shape[-1] / size)
    lacking = groups * size - x.shape[-1]
    return (pad(x, (0, lacking)) if lacking else x).reshape(*x.shape[:-1], groups, size)


def _sharing(x: Tensor, format: Format, granularity: str | None) -> Tensor:
    """What shares a scale along the last dimension, filled up with zeros."""
    if granularity == "sample":
        return x.reshape(1, -1)
    return _grouped(x, format.block or _size(granularity or "", x))
