"""The compiled loops of `evaluate`: errors of scales that tokens, groups, blocks and channels share, in one look at a tensor.

Rows are worked off in chunks, each by one thread: a chunk is decoded to float32 once, the largest |x| of every 16 channels
is found once, and each way to quantize then goes over the chunk with a scale for every element. Its errors are summed by
channel over the rows, then over the channels, and over the chunks in their order, in float64: the sums do not depend on the
number of threads, and all but the sum over channels vectorises.

All elementwise arithmetic is that of `blocks.py`, in float32, so each element comes out with the same bits. |x| stands for
x where a format is symmetric. A float32 is rounded to a grid by adding and subtracting the power of two at which the
spacing of float32 is that of the grid.

They are in a file of their own, apart from `compiled.py`, as no loop calls one of the other file (numba compiles again
what stands in a file that has changed, and looks at no other file).
"""

from __future__ import annotations

import numba
import numpy as np

CHUNK = 32
"""Rows of a chunk."""

UNIT = 16
"""Channels of the smallest group; the size of every group is a multiple."""

INTEGER, FLOATING, SHIFTED = range(3)
FREE, POWER_OF_TWO, TWO_LEVEL = range(3)
FLOOR, CEIL, EVEN, RCEIL = range(4)
ROW, CHANNEL = 0, -1
"""In place of the size of a group: all channels share a scale, or every channel has its own from calibration."""

LARGEST_MAGNITUDE, LEAST_SQUARES, QUANTILE = range(3)

KIND, SCALING, GROUP, ROUNDING, MANTISSA, SMALLEST_EXPONENT, LARGEST_EXPONENT, POLICY, NUMERATOR, DENOMINATOR = range(
    10
)
"""Columns of the integers that describe a way to quantize; the last two are those of the share of a quantile."""

LARGEST, LOWEST, HIGHEST = range(3)
"""Columns of its floats: the largest magnitude of an element; of asymmetric integers, the smallest and largest."""

_HUGE = np.float32(np.finfo(np.float32).max)
"""In place of a scale of zero: everything divided by it rounds to zero."""

_ROUNDS = np.float32(2**23)
_ROUNDS_SIGNED = np.float32(3 * 2**22)
"""Added and subtracted, they round a float32 below 2^22 to an integer, ties to even."""

_ZERO, _ONE = np.float32(0), np.float32(1)
_E4M3 = np.float32(448)
_MAX = np.float32(np.finfo(np.float32).max)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _on_grid(y, mantissa, smallest_exponent):  # type: ignore[no-untyped-def]  # numba infers
    """y, not negative, rounded to the grid of floating-point elements, ties to even."""
    exponent = max(np.float32(y).view(np.int32) >> 23, np.int32(smallest_exponent + 127))
    magic = np.int32((exponent + np.int32(23 - mantissa)) << 23).view(np.float32)
    return np.float32(np.float32(y + magic) - magic)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_integers(a, scale, largest, absolute, squared):  # type: ignore[no-untyped-def]
    for j in range(a.shape[0]):
        y = min(np.float32(a[j] / scale[j]), largest)
        rounded = np.float32(np.float32(y + _ROUNDS) - _ROUNDS)
        error = np.float64(np.float32(rounded * scale[j])) - np.float64(a[j])
        absolute[j] += abs(error)
        squared[j] += error * error


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_floats(a, scale, largest, mantissa, smallest_exponent, absolute, squared):  # type: ignore[no-untyped-def]
    for j in range(a.shape[0]):
        y = min(np.float32(a[j] / scale[j]), largest)
        rounded = _on_grid(y, mantissa, smallest_exponent)
        error = np.float64(np.float32(rounded * scale[j])) - np.float64(a[j])
        absolute[j] += abs(error)
        squared[j] += error * error


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_shifted(x, scale, zero_point, lowest, highest, absolute, squared):  # type: ignore[no-untyped-def]
    for j in range(x.shape[0]):
        y = np.float32(x[j] / scale[j])
        rounded = np.float32(np.float32(y + _ROUNDS_SIGNED) - _ROUNDS_SIGNED)
        q = min(max(np.float32(rounded + zero_point[j]), lowest), highest)
        error = np.float64(np.float32(np.float32(q - zero_point[j]) * scale[j])) - np.float64(x[j])
        absolute[j] += abs(error)
        squared[j] += error * error


@numba.njit(nogil=True, cache=True)
def _exponent(value):  # type: ignore[no-untyped-def]
    """floor(log2(value)) of a float32 above zero; as float64 it is never subnormal."""
    return (np.float64(value).view(np.int64) >> 52) - 1023


@numba.njit(nogil=True, cache=True)
def _fraction(value):  # type: ignore[no-untyped-def]
    """value / 2^floor(log2(value))."""
    bits = np.float64(value).view(np.int64)
    return np.int64((bits & 0xFFFFFFFFFFFFF) | (1023 << 52)).view(np.float64)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shared_power(value, largest, largest_exponent, rounding, mantissa):  # type: ignore[no-untyped-def]
    """The scale of a block whose largest |x| is `value`, above zero (`blocks.shared_exponent`)."""
    if rounding == RCEIL:
        ratio = np.float32(value / largest)
        found = _exponent(ratio) + np.int64(_fraction(ratio) > 1.0) if ratio > _ZERO else np.int64(-127)
    else:
        found = _exponent(value) - largest_exponent
        if rounding == CEIL:
            found += np.int64(_fraction(value) > 1.0)
        elif rounding == EVEN:
            half = np.int64((1023 - mantissa - 1) << 52).view(np.float64)
            found += np.int64(_fraction(value) >= 2.0 - half)
    found = min(max(found, -127), 127)
    return np.float32(np.int64((found + 1023) << 52).view(np.float64))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _find_scales(largest_G, how, floats, g, scale_G):  # type: ignore[no-untyped-def]
    """The scale of every group by its largest |x|; g is that of the tensor, where a format has two levels of scales."""
    largest = floats[LARGEST]
    if how[SCALING] == FREE:
        for group in range(largest_G.shape[0]):
            scale_G[group] = np.float32(largest_G[group] / largest)
    elif how[SCALING] == TWO_LEVEL:
        for group in range(largest_G.shape[0]):
            local = np.float32(largest_G[group] / largest)
            scale_G[group] = np.float32(_on_grid(min(np.float32(g * local), _E4M3), 3, -6) / g)
    else:
        exponent, rounding, mantissa = how[LARGEST_EXPONENT], how[ROUNDING], how[MANTISSA]
        for group in range(largest_G.shape[0]):
            value = largest_G[group]
            scale_G[group] = _shared_power(value, largest, exponent, rounding, mantissa) if value > _ZERO else _ONE


@numba.njit(nogil=True, cache=True)
def _decode(bits_RC, start, values, shifted, infinity, x_RC, a_RC):  # type: ignore[no-untyped-def]
    """The values of a chunk of rows, and their magnitudes; what is not finite becomes zero."""
    channels = bits_RC.shape[1]
    as_bits_RC = x_RC.view(np.uint32)
    for r in range(x_RC.shape[0]):
        row, largest = bits_RC[start + r], np.uint16(0)
        if shifted:  # bfloat16 is the upper half of float32
            for j in range(channels):
                as_bits_RC[r, j] = np.uint32(row[j]) << np.uint32(16)
                largest = max(largest, np.uint16(row[j] & np.uint16(0x7FFF)))
        else:
            for j in range(channels):
                x_RC[r, j] = values[row[j]]
                largest = max(largest, np.uint16(row[j] & np.uint16(0x7FFF)))
        if largest >= infinity:
            for j in range(channels):
                if (row[j] & np.uint16(0x7FFF)) >= infinity:
                    x_RC[r, j] = _ZERO
        for j in range(channels):
            a_RC[r, j] = abs(x_RC[r, j])


@numba.njit(nogil=True, cache=True)
def _units(a_RC, largest_RU):  # type: ignore[no-untyped-def]
    """The largest |x| of every `UNIT` channels, the last of a row perhaps of fewer; as bits, whose maximum vectorises."""
    bits_RC = a_RC.view(np.int32)
    channels, units = a_RC.shape[1], largest_RU.shape[1]
    bits_RU = largest_RU.view(np.int32)
    for r in range(a_RC.shape[0]):
        for u in range(channels // UNIT):
            found = np.int32(0)
            for k in range(UNIT):
                found = max(found, bits_RC[r, u * UNIT + k])
            bits_RU[r, u] = found
        if units * UNIT > channels:
            found = np.int32(0)
            for j in range((units - 1) * UNIT, channels):
                found = max(found, bits_RC[r, j])
            bits_RU[r, units - 1] = found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _beyond(a, scale, largest):  # type: ignore[no-untyped-def]
    """How many elements of a group are above scale x largest element."""
    limit = np.float64(largest) * np.float64(scale)
    below = np.float32(limit)
    if np.float64(below) > limit:  # the largest float32 that is not above it decides alike
        below = np.int32(below.view(np.int32) - 1).view(np.float32)
    count = np.int32(0)
    for j in range(a.shape[0]):
        count += np.int32(a[j] > below)
    return count


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_scales(a, largest_U, size, how, floats, g, groups, scale):  # type: ignore[no-untyped-def]
    """The scale of every element of a row; returns how many elements are beyond what their block can hold."""
    channels, units, clipped = a.shape[0], size // UNIT, np.int64(0)
    count = (largest_U.shape[0] + units - 1) // units
    largest_G, scale_G = groups[0, :count], groups[1, :count]
    for group in range(count):
        largest = largest_U[group * units]
        for u in range(group * units + 1, min((group + 1) * units, largest_U.shape[0])):
            largest = max(largest, largest_U[u])
        largest_G[group] = largest
    _find_scales(largest_G, how, floats, g, scale_G)
    if how[SCALING] != FREE:
        highest = floats[LARGEST]
        for group in range(count):
            if np.float64(largest_G[group]) > np.float64(highest) * np.float64(scale_G[group]):
                clipped += _beyond(a[group * size : (group + 1) * size], scale_G[group], highest)
    for group in range(count):
        used = scale_G[group] if scale_G[group] > _ZERO else _HUGE
        whole_units = min((group + 1) * size, channels) // UNIT
        for u in range(group * units, whole_units):
            for k in range(UNIT):
                scale[u * UNIT + k] = used
        for j in range(max(whole_units * UNIT, group * size), min((group + 1) * size, channels)):
            scale[j] = used
    return clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _squares(a, scale, how, largest):  # type: ignore[no-untyped-def]
    """The sum of squared errors of some elements under one scale."""
    total = 0.0
    for j in range(a.shape[0]):
        y = min(np.float32(a[j] / scale), largest)
        if how[KIND] == INTEGER:
            rounded = np.float32(np.float32(y + _ROUNDS) - _ROUNDS)
        else:
            rounded = _on_grid(y, how[MANTISSA], how[SMALLEST_EXPONENT])
        error = np.float64(np.float32(rounded * scale)) - np.float64(a[j])
        total += error * error
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _threshold(a, bits, infinity, how, largest, fractions, ordered):  # type: ignore[no-untyped-def]
    """The threshold of a group by a policy that clips (`blocks.py`)."""
    if how[POLICY] == QUANTILE:
        count = 0
        for j in range(a.shape[0]):
            if (bits[j] & np.uint16(0x7FFF)) < infinity:
                ordered[count] = a[j]
                count += 1
        if count == 0:
            return _ZERO
        ordered[:count].sort()
        rank = (count * how[NUMERATOR] + how[DENOMINATOR] - 1) // how[DENOMINATOR]
        return ordered[max(rank, 1) - 1]
    whole = _ZERO
    for j in range(a.shape[0]):
        whole = max(whole, a[j])
    best, least = whole, np.inf
    for fraction in fractions:
        tried = np.float32(whole * fraction)
        scale = np.float32(tried / largest)
        lost = _squares(a, scale if scale > _ZERO else _HUGE, how, largest)
        if lost < least:
            best, least = tried, lost
    return best


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_clipped(a, bits, infinity, size, how, largest, fractions, ordered, scale):  # type: ignore[no-untyped-def]
    """The scale of every element of a row by a policy that clips; returns how many elements are clipped."""
    clipped = np.int64(0)
    for start in range(0, a.shape[0], size):
        stop = min(start + size, a.shape[0])
        threshold = _threshold(a[start:stop], bits[start:stop], infinity, how, largest, fractions, ordered)
        found = np.float32(threshold / largest)
        used = found if found > _ZERO else _HUGE
        for j in range(start, stop):
            scale[j] = used
            clipped += np.int64(a[j] > threshold)
    return clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_ranges(x, size, floats, scale, zero_point):  # type: ignore[no-untyped-def]
    """Scale and zero point of every element of a row, of an asymmetric format."""
    lowest, highest = floats[LOWEST], floats[HIGHEST]
    levels = np.float32(highest - lowest)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        low, high = _ZERO, _ZERO
        for j in range(start, stop):
            low, high = min(low, x[j]), max(high, x[j])
        found = np.float32(high - low)
        if np.isinf(found):  # the range is beyond float32, its step is not
            found = np.float32((np.float64(high) - np.float64(low)) / np.float64(levels))
        else:
            found = np.float32(found / levels)
        zero = _ZERO
        if found > _ZERO:
            zero = min(max(np.float32(np.rint(np.float32(lowest - np.float32(low / found)))), lowest), highest)
        used = found if found > _ZERO else _HUGE
        for j in range(start, stop):
            scale[j], zero_point[j] = used, zero


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_chunk(bits_RC, infinity, x_RC, a_RC, largest_RU, channel_C, g, fractions, how, floats, buffers):  # type: ignore[no-untyped-def]
    """Sums of |error| and error^2 of one way to quantize over a chunk, and how many elements are clipped.

    The sums are NaN where an element that is not 0 has no scale.
    """
    scale, zero_point, calibrated, groups, absolute, squared = buffers
    channels, clipped = x_RC.shape[1], np.int64(0)
    unscaled = False
    if how[SCALING] == TWO_LEVEL and g == _ZERO:
        for r in range(x_RC.shape[0]):
            for j in range(channels):
                unscaled |= a_RC[r, j] > _ZERO
        return (np.nan, np.nan, 0) if unscaled else (0.0, 0.0, 0)
    absolute[:] = 0.0
    squared[:] = 0.0
    # A row that is one group is at least as long as that.
    size = how[GROUP] if how[GROUP] > 0 else (channels + UNIT - 1) // UNIT * UNIT
    if how[GROUP] == CHANNEL:
        for j in range(channels):
            found = np.float32(channel_C[j] / floats[LARGEST])
            scale[j] = found if found > _ZERO else _HUGE
    for r in range(x_RC.shape[0]):
        a = a_RC[r]
        if how[GROUP] == CHANNEL:
            for j in range(channels):
                calibrated[j] = a_RC[r, j] if channel_C[j] > _ZERO else _ZERO
                unscaled |= a_RC[r, j] > calibrated[j]
                clipped += np.int64(calibrated[j] > channel_C[j])
            a = calibrated
        elif how[KIND] == SHIFTED:
            _fill_ranges(x_RC[r], size, floats, scale, zero_point)
        elif how[POLICY] != LARGEST_MAGNITUDE:
            clipped += _fill_clipped(a, bits_RC[r], infinity, size, how, floats[LARGEST], fractions, calibrated, scale)
        else:
            clipped += _fill_scales(a, largest_RU[r], size, how, floats, g, groups, scale)
        if how[KIND] == SHIFTED:
            _add_shifted(x_RC[r], scale, zero_point, floats[LOWEST], floats[HIGHEST], absolute, squared)
        elif how[KIND] == INTEGER:
            _add_integers(a, scale, floats[LARGEST], absolute, squared)
        else:
            _add_floats(a, scale, floats[LARGEST], how[MANTISSA], how[SMALLEST_EXPONENT], absolute, squared)
    if unscaled:
        return np.nan, np.nan, clipped
    total, total_squared = 0.0, 0.0
    for j in range(channels):
        total += absolute[j]
        total_squared += squared[j]
    return total, total_squared, clipped


@numba.njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def add_rows(bits_RC, values, shifted, infinity, channel_C, whole, fractions, ways, counts_P, errors_KW, clipped_KW):  # type: ignore[no-untyped-def]
    """Quantize a tensor in every way; count its codes.

    Args:
        bits_RC: uint16, the patterns of the tensor.
        values: float32 [65536] of the patterns; not looked at where `shifted` says that they are those of bfloat16.
        infinity: the pattern of +infinity.
        channel_C: float32, the largest |x| of each channel on the calibration split; 0 where there is none.
        whole: the largest of these; where it is 0, a format with two levels of scales has none.
        fractions: float32, of the largest |x| of a group, that are tried as its threshold.
        ways: int64 [W, 10] and float32 [W, 3], described by the columns above.
        counts_P: uint32 [threads, 65536], added to.
        errors_KW: float64 [chunks, W, 2], set to the sums of |error| and error^2 of each chunk; NaN where an element that is
            not 0 has no scale, as its channel or the tensor is 0 all over the calibration split.
        clipped_KW: int64 [chunks, W], set to the number of clipped elements.
    """
    rows, channels = bits_RC.shape
    chunks, parts = errors_KW.shape[0], counts_P.shape[0]
    hows, floats = ways
    g = min(np.float32(np.float32(_E4M3 * np.float32(6)) / whole), _MAX) if whole > _ZERO else _ZERO
    for p in numba.prange(parts):
        x_all, a_all = np.empty((CHUNK, channels), np.float32), np.empty((CHUNK, channels), np.float32)
        largest_all = np.empty((CHUNK, (channels + UNIT - 1) // UNIT), np.float32)
        scale, zero_point, calibrated = (
            np.empty(channels, np.float32),
            np.zeros(channels, np.float32),
            np.empty(channels, np.float32),
        )
        groups = np.empty((2, largest_all.shape[1]), np.float32)
        sums = np.empty((2, channels), np.float64)
        buffers = (scale, zero_point, calibrated, groups, sums[0], sums[1])
        counts = counts_P[p]
        for chunk in range(chunks * p // parts, chunks * (p + 1) // parts):
            start = chunk * CHUNK
            length = min(CHUNK, rows - start)
            x_RC, a_RC, largest_RU = x_all[:length], a_all[:length], largest_all[:length]
            _decode(bits_RC, start, values, shifted, infinity, x_RC, a_RC)
            for r in range(start, start + length):
                for j in range(channels):
                    counts[bits_RC[r, j]] += np.uint32(1)
            _units(a_RC, largest_RU)
            for way in range(hows.shape[0]):
                absolute, squared, clipped = _add_chunk(
                    bits_RC[start : start + length],
                    infinity,
                    x_RC,
                    a_RC,
                    largest_RU,
                    channel_C,
                    g,
                    fractions,
                    hows[way],
                    floats[way],
                    buffers,
                )
                errors_KW[chunk, way, 0], errors_KW[chunk, way, 1] = absolute, squared
                clipped_KW[chunk, way] = clipped


@numba.njit(nogil=True, cache=True)
def gather(counts_P, counts):  # type: ignore[no-untyped-def]
    """Add what the threads counted to `counts` [65536], and leave zeros."""
    for p in range(counts_P.shape[0]):
        part = counts_P[p]
        for code in range(part.shape[0]):  # without a branch, so that it is made of vector instructions
            counts[code] += np.int64(part[code])
            part[code] = 0
