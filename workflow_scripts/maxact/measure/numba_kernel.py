"""The fast kernel on CPU: one pass over the bit patterns of a tensor, compiled by numba.

Per token, in one loop that vectorises: |x|, its maximum, the maximum of the pattern read as signed (the largest
value, if one is positive) and as unsigned (the smallest, if one is negative), and the channels' maxima. Then the
histogram, one increment an element. Then the exact lower median of |x| by counting how many patterns are at most v,
for a few v: counting comparisons vectorises where counting into buckets does not, the last token's median is the
first guess, and interpolation between two counts needs about seven counts a token.

Rows are shared out over threads, each with a histogram of its own, so that increments do not collide. numba's OpenMP
layer starts them in about ten microseconds; a pool of Python threads took more than it saved, and numba's own work
queue half as long again.

What it does not do goes to the reference kernel: float32, non-finite values, and samples without a positive or
without a negative value.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import INFINITY_KEY
from maxact.measure import reference
from maxact.measure.reference import DTYPES, Extreme, ReferenceKernel, Scan

Bits = npt.NDArray[np.uint16]

_MASK = np.uint16(0x7FFF)
_SIGN = np.uint16(0x8000)
_ONE = np.uint32(1)
_FLUSH = 1 << 31
"""Elements after which 32-bit counts are moved to 64-bit ones, well before any could overflow."""


@numba.njit(nogil=True, cache=True)
def _count_at_most(keys, bound):  # type: ignore[no-untyped-def]  # numba infers
    count = np.int32(0)
    for j in range(keys.shape[0]):
        count += np.int32(keys[j] <= bound)
    return count


@numba.njit(nogil=True, cache=True)
def _lower_median(keys, guess):  # type: ignore[no-untyped-def]
    """The smallest v such that at least half of `keys` (rounded up) are at most v."""
    wanted = np.int32((keys.shape[0] + 1) // 2)
    low, count_low = np.int32(-1), np.int32(0)  # fewer than wanted are at most low
    high, count_high = np.int32(0x7FFF), np.int32(keys.shape[0])  # enough are at most high
    v, step, round_ = np.int32(guess), np.int32(8), 0
    while high - low > 1:
        v = min(max(v, low + 1), high - 1)
        count = _count_at_most(keys, np.uint16(v))
        round_ += 1
        if count >= wanted:
            high, count_high = v, count
            bracketed = low >= 0
            v -= step
        else:
            low, count_low = v, count
            bracketed = high < 0x7FFF
            v += step
        if not bracketed:
            step *= 4
        elif round_ % 4 == 0:  # interpolation alone can creep where patterns are many on one side
            v = (low + high) // 2
        else:
            v = low + (high - low) * (wanted - count_low) // (count_high - count_low + 1)
    return high


@numba.njit(nogil=True, cache=True)
def _scan_rows(bits_TC, start, stop, row_max_T, signed_T, unsigned_T, medians_T, channel_max_C, counts):  # type: ignore[no-untyped-def]
    channels = bits_TC.shape[1]
    keys_C = np.empty(channels, np.uint16)
    median = 0x3C00
    for t in range(start, stop):
        row = bits_TC[t]
        largest, signed, unsigned = np.uint16(0), np.int16(-0x8000), np.uint16(0)
        for j in range(channels):
            pattern = row[j]
            key = np.uint16(pattern & _MASK)
            keys_C[j] = key
            largest = max(largest, key)
            unsigned = max(unsigned, pattern)
            signed = max(signed, np.int16(pattern))
            channel_max_C[j] = max(channel_max_C[j], key)
        row_max_T[t], signed_T[t], unsigned_T[t] = largest, signed, unsigned
        for j in range(channels):
            counts[row[j]] += _ONE
        median = _lower_median(keys_C, median)
        medians_T[t] = median


@numba.njit(nogil=True, cache=True, parallel=True)
def _scan(bits_TC, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC, counts_P):  # type: ignore[no-untyped-def]
    """P parts of the rows, one a thread."""
    tokens, parts = bits_TC.shape[0], counts_P.shape[0]
    for p in numba.prange(parts):
        start, stop = tokens * p // parts, tokens * (p + 1) // parts
        _scan_rows(bits_TC, start, stop, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC[p], counts_P[p])


class NumbaKernel:
    """Scans tensors and counts their codes, with the results of the reference kernel.

    Args:
        threads: how many share a tensor's rows; torch's number by default. The results do not depend on it.
    """

    def __init__(self, threads: int | None = None) -> None:
        settings: Any = numba.config
        self._threads = min(threads or torch.get_num_threads(), settings.NUMBA_NUM_THREADS)
        self._plain = ReferenceKernel()
        self._private: dict[int, npt.NDArray[np.uint32]] = {}
        self._flushed: dict[int, npt.NDArray[np.int64]] = {}
        self._elements: dict[int, int] = {}

    def scan(self, site: int, x_TC: Tensor) -> Scan:
        """The statistics of one sample at one site; its codes are added to the site's counts."""
        if x_TC.dtype == torch.float32:
            return self._plain.scan(site, x_TC)
        bits_TC = x_TC.contiguous().view(torch.int16).numpy(force=True).view(np.uint16)
        tokens, channels = bits_TC.shape
        row_max_T, unsigned_T, medians_T = (np.empty(tokens, np.uint16) for _ in range(3))
        signed_T = np.empty(tokens, np.int16)
        channel_max_PC = np.zeros((self._threads, channels), np.uint16)
        numba.set_num_threads(self._threads)
        counts_P = self._counts(site, bits_TC.size)
        _scan(bits_TC, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC, counts_P)
        if row_max_T.max() >= INFINITY_KEY[DTYPES[x_TC.dtype]]:
            return reference.scan(x_TC)
        fast = Scan(
            row_max_T=row_max_T.astype(np.int64),
            medians_T=medians_T.astype(np.int64),
            channel_max_C=channel_max_PC.max(axis=0).astype(np.int64),
            largest=_first(bits_TC, signed_T) if signed_T.max() > 0 else None,
            smallest=_first(bits_TC, unsigned_T) if unsigned_T.max() > _SIGN else None,
            nonfinite=None,
        )
        if fast.largest and fast.smallest:
            return fast
        slow = reference.scan(x_TC)
        return dataclasses.replace(fast, largest=slow.largest, smallest=slow.smallest)

    def collect(self, site: int) -> npt.NDArray[np.int64]:
        """The counts of each of the 65,536 codes since the last call, non-finite codes included; int64 [65536]."""
        self._flush(site)
        return self._flushed.pop(site, np.zeros(65536, dtype=np.int64)) + self._plain.collect(site)

    def _counts(self, site: int, elements: int) -> npt.NDArray[np.uint32]:
        """The threads' counts of one site, with room for `elements` more."""
        self._elements[site] = self._elements.get(site, 0) + elements
        if self._elements[site] >= _FLUSH:
            self._flush(site)
            self._elements[site] = elements
        if site not in self._private:
            self._private[site] = np.zeros((self._threads, 65536), np.uint32)
        return self._private[site]

    def _flush(self, site: int) -> None:
        private = self._private.get(site)
        if private is not None:
            self._flushed[site] = self._flushed.get(site, 0) + private.sum(axis=0, dtype=np.int64)
            private[:] = 0
        self._elements[site] = 0


def _first(bits_TC: Bits, extremes_T: npt.NDArray[np.int16] | Bits) -> Extreme:
    """The first place of the extreme pattern, which is that of the largest (signed) or smallest (unsigned) value."""
    position = int(extremes_T.argmax())
    pattern = int(extremes_T[position]) & 0xFFFF
    channel = int((bits_TC[position] == pattern).argmax())
    return (pattern if pattern < 0x8000 else -(pattern & 0x7FFF)), position, channel
