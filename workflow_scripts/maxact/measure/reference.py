"""The plain kernel: what one sample says at one site, in torch, on any device.

It defines what the fast kernel must return bit by bit, and does what the fast kernel leaves out: float32 tensors, and
tensors with NaN or infinities.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import INFINITY_KEY, MAGNITUDE_MASK
from maxact.measurement import TOP

Keys = npt.NDArray[np.int64]
Extreme = tuple[int, int, int]
"""Signed key, row, channel."""

DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


@dataclass(frozen=True)
class Nonfinite:
    """Counts of NaN, +infinity and -infinity, and the first place (row, channel) of any."""

    nan: int
    positive_infinity: int
    negative_infinity: int
    row: int
    channel: int


@dataclass(frozen=True)
class Scan:
    """One sample at one site; all over finite values. A row is a token, or a token in one of its experts.

    Attributes:
        row_max_T: key of each row's largest |x|.
        medians_T: key of each row's lower median of |x|.
        channel_max_C: key of each channel's largest |x|.
        largest, smallest: extreme value and the first place where it stands (-0.0 equals 0.0); None if there is none.
        top_N: key, row, channel and signed key of the largest |x| whose key is at least that asked for, at most `TOP`
            of them; int64 [N, 4]. The largest is first, ties are in order of place.
        nonfinite: None if every value is finite.
        peak_of: channel and signed key of the first element of a row that has the row's largest |x|.
    """

    row_max_T: Keys
    medians_T: Keys
    channel_max_C: Keys
    largest: Extreme | None
    smallest: Extreme | None
    top_N: Keys
    nonfinite: Nonfinite | None
    peak_of: Callable[[int], tuple[int, int]]


def bits_of(x_TC: Tensor) -> Tensor:
    """The bit patterns of a 16-bit or float32 tensor, as non-negative int64."""
    if x_TC.dtype == torch.float32:
        return x_TC.view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    return x_TC.view(torch.int16).to(torch.int64) & 0xFFFF


def histogram_codes(x_TC: Tensor) -> Tensor:
    """The 16-bit codes that are counted: the pattern itself, or for float32 that of the value rounded to bfloat16.

    Rounding is to nearest, ties to even; a finite value that would round to infinity counts as the largest finite one.
    """
    if x_TC.dtype != torch.float32:
        return bits_of(x_TC)
    largest = torch.finfo(torch.bfloat16).max
    rounded = x_TC.to(torch.bfloat16)
    return bits_of(torch.where(torch.isfinite(x_TC), rounded.clamp(-largest, largest), rounded))


def scan(x_TC: Tensor, least: int = 0) -> Scan:
    """The statistics of one sample at one site.

    Args:
        x_TC: [rows, channels], bfloat16, float16 or float32, at least one row.
        least: the smallest key that is of interest for the top.
    """
    dtype = DTYPES[x_TC.dtype]
    bits_TC = bits_of(x_TC)
    keys_TC = bits_TC & MAGNITUDE_MASK[dtype]
    finite_TC = keys_TC < INFINITY_KEY[dtype]
    kept_TC = keys_TC.masked_fill(~finite_TC, -1)
    # Lower median of n finite channels: position (n + 1) // 2 - 1 of their sorted keys, which follow the others (-1).
    count_T = finite_TC.sum(dim=1)
    index_T = x_TC.shape[1] - count_T + (count_T + 1) // 2 - 1
    sorted_TC = kept_TC.sort(dim=1).values
    medians_T = sorted_TC.gather(1, index_T.clamp(0, x_TC.shape[1] - 1)[:, None])[:, 0]
    signed_TC = torch.where(bits_TC > MAGNITUDE_MASK[dtype], -keys_TC, keys_TC)
    return Scan(
        row_max_T=kept_TC.amax(dim=1).numpy(force=True),
        medians_T=medians_T.masked_fill(count_T == 0, -1).numpy(force=True),
        channel_max_C=kept_TC.amax(dim=0).numpy(force=True),
        largest=_largest(signed_TC, finite_TC),
        smallest=_negated(_largest(-signed_TC, finite_TC)),
        top_N=_top(kept_TC, signed_TC, least),
        nonfinite=_nonfinite(bits_TC, finite_TC, dtype),
        peak_of=functools.partial(_peak_of, kept_TC, signed_TC),
    )


def _largest(signed_TC: Tensor, finite_TC: Tensor) -> Extreme | None:
    """The largest signed key among the finite values, at its first place."""
    if not bool(finite_TC.any()):
        return None
    below_all = -(1 << 40)
    largest = int(signed_TC.masked_fill(~finite_TC, below_all).amax())
    first = int(((signed_TC == largest) & finite_TC).flatten().nonzero()[0])
    return largest, *divmod(first, signed_TC.shape[1])


def _peak_of(kept_TC: Tensor, signed_TC: Tensor, row: int) -> tuple[int, int]:
    channel = int((kept_TC[row] == kept_TC[row].max()).nonzero()[0])
    return channel, int(signed_TC[row, channel])


def _top(kept_TC: Tensor, signed_TC: Tensor, least: int) -> Keys:
    row_N, channel_N = (kept_TC >= least).nonzero(as_tuple=True)  # in order of place
    key_N, signed_N = kept_TC[row_N, channel_N], signed_TC[row_N, channel_N]
    first = torch.sort(key_N, descending=True, stable=True).indices[:TOP]
    return torch.stack([key_N, row_N, channel_N, signed_N], dim=1)[first].numpy(force=True)


def _negated(extreme: Extreme | None) -> Extreme | None:
    return None if extreme is None else (-extreme[0], extreme[1], extreme[2])


def _nonfinite(bits_TC: Tensor, finite_TC: Tensor, dtype: str) -> Nonfinite | None:
    if bool(finite_TC.all()):
        return None
    infinity, sign = INFINITY_KEY[dtype], MAGNITUDE_MASK[dtype] + 1
    positive, negative = int((bits_TC == infinity).sum()), int((bits_TC == infinity + sign).sum())
    first = int((~finite_TC).flatten().nonzero()[0])
    return Nonfinite(
        int((~finite_TC).sum()) - positive - negative, positive, negative, *divmod(first, bits_TC.shape[1])
    )


class ReferenceKernel:
    """Scans tensors and counts their codes by the plainest means."""

    def scan(self, x_TC: Tensor, counts: npt.NDArray[np.int64], least: int = 0) -> Scan:
        """The statistics of one sample at one site; its codes, non-finite ones included, are added to `counts` [65536]."""
        counts += torch.bincount(histogram_codes(x_TC).flatten(), minlength=65536).numpy(force=True)
        return scan(x_TC, least)
