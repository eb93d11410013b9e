"""The fast kernel on CPU: one pass over the bit patterns of a tensor, compiled by numba.

Per row, in one loop that vectorises: |x|, its maximum, the maximum of the pattern read as signed (the largest value,
if one is positive) and as unsigned (the smallest, if one is negative), and the channels' maxima. Then the histogram, one
increment an element. Then the exact lower median of |x| by counting how many patterns are at most v, for a few v:
counting comparisons vectorises where counting into buckets does not, the last row's median is the first guess, and
interpolation between two counts needs about seven counts a row.

Rows are shared out over threads, each with a histogram of its own, so that increments do not collide; all sites share
these, which then stay in the cache. numba's OpenMP layer starts threads in about ten microseconds; a pool of Python
threads took more than it saved, and numba's own work queue half as long again.

What it does not do goes to the reference kernel: float32, and non-finite values.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import INFINITY_KEY
from maxact.measure import reference
from maxact.measure.reference import DTYPES, ReferenceKernel, Scan
from maxact.measure.threads import share_out
from maxact.measurement import TOP

_MASK = np.uint16(0x7FFF)
_SIGN = np.uint16(0x8000)
_SMALLEST = np.uint16(1)
_ONE = np.uint32(1)
_LARGEST_TENSOR = 1 << 31
"""Elements up to which no 32-bit count can overflow in one scan."""


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
    median, least = 0x3C00, np.uint16(0xFFFF)
    for t in range(start, stop):
        row = bits_TC[t]
        largest, signed, unsigned = np.uint16(0), np.int16(-0x8000), np.uint16(0)
        for j in range(channels):
            pattern = row[j]
            key = np.uint16(pattern & _MASK)
            keys_C[j] = key
            least = min(least, np.uint16(key - _SMALLEST))  # zero becomes the largest: it is counted apart
            largest = max(largest, key)
            unsigned = max(unsigned, pattern)
            signed = max(signed, np.int16(pattern))
            channel_max_C[j] = max(channel_max_C[j], key)
        row_max_T[t], signed_T[t], unsigned_T[t] = largest, signed, unsigned
        for j in range(channels):
            counts[row[j]] += _ONE
        median = _lower_median(keys_C, median)
        medians_T[t] = median
    return least


@numba.njit(nogil=True, cache=True, parallel=True)
def _scan(bits_TC, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC, counts_P, least_P):  # type: ignore[no-untyped-def]
    """P parts of the rows, one a thread."""
    tokens, parts = bits_TC.shape[0], counts_P.shape[0]
    for p in numba.prange(parts):
        start, stop = tokens * p // parts, tokens * (p + 1) // parts
        least_P[p] = _scan_rows(
            bits_TC, start, stop, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC[p], counts_P[p]
        )


@numba.njit(nogil=True, cache=True)
def _gather(counts_P, channel_max_PC, least, largest, counts, channel_max_C):  # type: ignore[no-untyped-def]
    """Add up what the threads counted, which is zero afterwards, and join their channels' maxima.

    Codes that occurred are 0 and those from `least` to `largest`, of either sign.
    """
    for p in range(counts_P.shape[0]):
        part = counts_P[p]
        for sign in (0, 0x8000):
            counts[sign] += np.int64(part[sign])
            part[sign] = 0
            for code in range(sign + least, sign + largest + 1):
                counts[code] += np.int64(part[code])
                part[code] = 0
    for p in range(channel_max_PC.shape[0]):
        for j in range(channel_max_C.shape[0]):
            channel_max_C[j] = max(channel_max_C[j], np.int64(channel_max_PC[p, j]))


@numba.njit(nogil=True, cache=True)
def _extreme(bits_TC, extreme_T, sign, place):  # type: ignore[no-untyped-def]
    """The first place of the largest value, or of the smallest where `sign` is -1, as signed key, row, channel."""
    row, best = 0, extreme_T[0]
    for t in range(1, extreme_T.shape[0]):
        if extreme_T[t] > best:
            row, best = t, extreme_T[t]
    pattern = np.uint16(np.int64(best) & 0xFFFF)
    if (sign > 0 and np.int16(best) > 0) or (sign < 0 and pattern > _SIGN):
        for j in range(bits_TC.shape[1]):
            if bits_TC[row, j] == pattern:
                place[0], place[1], place[2] = sign * np.int64(pattern & _MASK), row, j
                return
    # No value has that sign: the extreme one has the smallest |x|.
    least = np.int64(0x8000)
    for t in range(bits_TC.shape[0]):
        for j in range(bits_TC.shape[1]):
            key = np.int64(bits_TC[t, j] & _MASK)
            if key < least:
                least = key
                place[0], place[1], place[2] = -sign * key, t, j


@numba.njit(nogil=True, cache=True)
def _top(bits_TC, row_max_T, least, top_N):  # type: ignore[no-untyped-def]
    """Fill `top_N` [TOP, 4] with the largest |x| whose key is at least `least`; returns how many there are."""
    size, bound = 0, np.int64(least)
    for t in range(bits_TC.shape[0]):
        if np.int64(row_max_T[t]) < bound:
            continue
        for j in range(bits_TC.shape[1]):
            pattern = np.int64(bits_TC[t, j])
            key = pattern & 0x7FFF
            if key < bound:
                continue
            at = min(size, top_N.shape[0] - 1)  # the last goes where there is no room
            while at > 0 and top_N[at - 1, 0] < key:
                top_N[at] = top_N[at - 1]
                at -= 1
            top_N[at, 0], top_N[at, 1], top_N[at, 2] = key, t, j
            top_N[at, 3] = key if pattern < 0x8000 else -key
            size = min(size + 1, top_N.shape[0])
            if size == top_N.shape[0]:  # an equal one that comes later stands behind it
                bound = max(bound, top_N[size - 1, 0] + 1)
    return size


@numba.njit(nogil=True, cache=True)
def _finish(bits_TC, extremes, parts, least, counts, channel_max_C, places, top_N):  # type: ignore[no-untyped-def]
    """What the threads found, joined; returns how many there are in the top.

    `extremes` are each row's largest |x|, and pattern as signed and as unsigned; `parts` the threads' counts, channels'
    maxima, and smallest keys.
    """
    row_max_T, signed_T, unsigned_T = extremes
    counts_P, channel_max_PC, least_P = parts
    _gather(counts_P, channel_max_PC, np.int64(least_P.min()) + 1, np.int64(row_max_T.max()), counts, channel_max_C)
    _extreme(bits_TC, signed_T, 1, places[0])
    _extreme(bits_TC, unsigned_T, -1, places[1])
    return _top(bits_TC, row_max_T, least, top_N)


class NumbaKernel:
    """Scans tensors and counts their codes, with the results of the reference kernel.

    Args:
        threads: how many share a tensor's rows; torch's number by default. The results do not depend on it.
    """

    def __init__(self, threads: int | None = None) -> None:
        settings: Any = numba.config
        self._threads = min(threads or torch.get_num_threads(), settings.NUMBA_NUM_THREADS)
        self._plain = ReferenceKernel()
        self._counts_P = np.zeros((self._threads, 65536), np.uint32)

    def scan(self, x_TC: Tensor, counts: npt.NDArray[np.int64], least: int = 0) -> Scan:
        """The statistics of one sample at one site; its codes, non-finite ones included, are added to `counts` [65536]."""
        if x_TC.dtype == torch.float32 or x_TC.numel() >= _LARGEST_TENSOR:
            return self._plain.scan(x_TC, counts, least)
        bits_TC = x_TC.contiguous().view(torch.int16).numpy(force=True).view(np.uint16)
        rows, channels = bits_TC.shape
        row_max_T, unsigned_T, medians_T = np.empty((3, rows), np.uint16)
        signed_T, least_P = np.empty(rows, np.int16), np.empty(self._threads, np.uint16)
        channel_max_PC = np.zeros((self._threads, channels), np.uint16)
        channel_max_C, places, top_N = (
            np.zeros(channels, np.int64),
            np.empty((2, 3), np.int64),
            np.empty((TOP, 4), np.int64),
        )
        share_out(self._threads)
        _scan(bits_TC, row_max_T, signed_T, unsigned_T, medians_T, channel_max_PC, self._counts_P, least_P)
        parts = (self._counts_P, channel_max_PC, least_P)
        size = _finish(bits_TC, (row_max_T, signed_T, unsigned_T), parts, least, counts, channel_max_C, places, top_N)
        if row_max_T.max() >= INFINITY_KEY[DTYPES[x_TC.dtype]]:
            return reference.scan(x_TC, least)
        (largest, *at), (smallest, *there) = places.tolist()
        return Scan(
            row_max_T=row_max_T.astype(np.int64),
            medians_T=medians_T.astype(np.int64),
            channel_max_C=channel_max_C,
            largest=(largest, at[0], at[1]),
            smallest=(smallest, there[0], there[1]),
            top_N=top_N[:size],
            nonfinite=None,
            peak_of=functools.partial(_peak_of, bits_TC),
        )


def _peak_of(bits_TC: npt.NDArray[np.uint16], row: int) -> tuple[int, int]:
    keys_C = bits_TC[row] & _MASK
    channel = int(keys_C.argmax())
    key = int(keys_C[channel])
    return channel, (-key if bits_TC[row, channel] >= _SIGN else key)
