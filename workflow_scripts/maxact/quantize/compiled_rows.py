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

UNIT, LARGEST_GROUP = 16, 128
"""Channels of the smallest group, of which the size of every group is a multiple, and of the largest that is no row."""

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

_NO_SCALE = np.float32(np.inf)
"""In place of a scale of zero: everything divided by it is zero, and stays so as nothing is multiplied by more than `_MAX`."""

_ROUNDS = np.float32(2**23)
_ROUNDS_SIGNED = np.float32(3 * 2**22)
"""Added and subtracted, they round a float32 below 2^22 to an integer, ties to even."""

_ZERO, _ONE = np.float32(0), np.float32(1)
_E4M3, _QUANTUM, _E4M3_NUMBERS = np.float32(448), np.float32(2**-9), 126
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
        error = np.float64(np.float32(rounded * min(scale[j], _MAX))) - np.float64(a[j])
        absolute[j] += abs(error)
        squared[j] += error * error


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_floats(a, scale, largest, mantissa, smallest_exponent, absolute, squared):  # type: ignore[no-untyped-def]
    for j in range(a.shape[0]):
        y = min(np.float32(a[j] / scale[j]), largest)
        rounded = _on_grid(y, mantissa, smallest_exponent)
        error = np.float64(np.float32(rounded * min(scale[j], _MAX))) - np.float64(a[j])
        absolute[j] += abs(error)
        squared[j] += error * error


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_shifted(x, scale, zero_point, lowest, highest, absolute, squared):  # type: ignore[no-untyped-def]
    for j in range(x.shape[0]):
        y = np.float32(x[j] / scale[j])
        rounded = np.float32(np.float32(y + _ROUNDS_SIGNED) - _ROUNDS_SIGNED)
        q = min(max(np.float32(rounded + zero_point[j]), lowest), highest)
        error = np.float64(np.float32(np.float32(q - zero_point[j]) * min(scale[j], _MAX))) - np.float64(x[j])
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
def _shared_exponent(value, largest, how, rounding):  # type: ignore[no-untyped-def]
    """That of a block whose largest |x| is `value`, above zero, not cut (`shared_scales.shared_exponent`)."""
    if rounding == RCEIL:
        ratio = np.float32(value / largest)
        return _exponent(ratio) + np.int64(_fraction(ratio) > 1.0) if ratio > _ZERO else np.int64(-127)
    found = _exponent(value) - how[LARGEST_EXPONENT]
    if rounding == CEIL:
        found += np.int64(_fraction(value) > 1.0)
    elif rounding == EVEN:
        half = np.int64((1023 - how[MANTISSA] - 1) << 52).view(np.float64)
        found += np.int64(_fraction(value) >= 2.0 - half)
    return found


@numba.njit(nogil=True, cache=True)
def _power(exponent):  # type: ignore[no-untyped-def]
    """2^exponent, the exponent cut to those of E8M0."""
    return np.float32(np.int64((min(max(exponent, -127), 127) + 1023) << 52).view(np.float64))


@numba.njit(nogil=True, cache=True)
def _e4m3(rank):  # type: ignore[no-untyped-def]
    """The e4m3 number with so many below it from 0 on."""
    if rank < 8:
        return np.float32(np.float32(rank) * _QUANTUM)
    return np.int32((rank << 20) + (120 << 23)).view(np.float32)


@numba.njit(nogil=True, cache=True)
def _e4m3_rank(number):  # type: ignore[no-untyped-def]
    if number < np.float32(2**-6):
        return np.int64(number / _QUANTUM)
    return np.int64((np.float32(number).view(np.int32) - (120 << 23)) >> 20)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _nearest_e4m3(value, largest, g):  # type: ignore[no-untyped-def]
    """The scale of a block for `value`, times g, that of the tensor."""
    return _on_grid(min(np.float32(g * np.float32(value / largest)), _E4M3), 3, -6)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _scale_for(value, how, floats, g):  # type: ignore[no-untyped-def]
    """The scale of what has `value` as its threshold; not of an asymmetric format."""
    largest = floats[LARGEST]
    if how[SCALING] == FREE:
        return np.float32(value / largest)
    if how[SCALING] == TWO_LEVEL:
        return np.float32(_nearest_e4m3(value, largest, g) / g)
    return _power(_shared_exponent(value, largest, how, how[ROUNDING])) if value > _ZERO else _ZERO


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
    if how[SCALING] == FREE:  # a loop of its own, which is made of vector instructions
        for group in range(count):
            scale_G[group] = np.float32(largest_G[group] / floats[LARGEST])
    else:
        for group in range(count):
            scale_G[group] = _scale_for(largest_G[group], how, floats, g)
    if how[SCALING] != FREE:
        highest = floats[LARGEST]
        for group in range(count):
            if np.float64(largest_G[group]) > np.float64(highest) * np.float64(scale_G[group]):
                clipped += _beyond(a[group * size : (group + 1) * size], scale_G[group], highest)
    for group in range(count):
        used = scale_G[group] if scale_G[group] > _ZERO else _NO_SCALE
        whole_units = min((group + 1) * size, channels) // UNIT
        for u in range(group * units, whole_units):
            for k in range(UNIT):
                scale[u * UNIT + k] = used
        for j in range(max(whole_units * UNIT, group * size), min((group + 1) * size, channels)):
            scale[j] = used
    return clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _range(x, threshold, floats):  # type: ignore[no-untyped-def]
    """Scale and zero point of some elements in an asymmetric format, cut to +-threshold, and the larger end of their range."""
    lowest, highest = floats[LOWEST], floats[HIGHEST]
    levels = np.float32(highest - lowest)
    low, high = _ZERO, _ZERO
    for j in range(x.shape[0]):
        low, high = min(low, x[j]), max(high, x[j])
    low, high = max(low, np.float32(-threshold)), min(high, threshold)
    scale = np.float32(high - low)
    if np.isinf(scale):  # the range is beyond float32, its step is not
        scale = np.float32((np.float64(high) - np.float64(low)) / np.float64(levels))
    else:
        scale = np.float32(scale / levels)
    zero = _ZERO
    if scale > _ZERO:
        zero = min(max(np.float32(np.rint(np.float32(lowest - np.float32(low / scale)))), lowest), highest)
    return scale, zero, max(np.float32(-low), high)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _squares(x, a, scale, zero, how, floats, terms):  # type: ignore[no-untyped-def]
    """The sum of squared errors of some elements under one scale, in the order of `elements.folded`.

    `terms` has as many places as a group that is full.
    """
    used, largest = scale if scale > _ZERO else _NO_SCALE, floats[LARGEST]
    back = min(used, _MAX)
    if how[KIND] == SHIFTED:
        for j in range(x.shape[0]):
            y = np.float32(x[j] / used)
            rounded = np.float32(np.float32(y + _ROUNDS_SIGNED) - _ROUNDS_SIGNED)
            q = min(max(np.float32(rounded + zero), floats[LOWEST]), floats[HIGHEST])
            error = np.float64(np.float32(np.float32(q - zero) * back)) - np.float64(x[j])
            terms[j] = error * error
    elif how[KIND] == INTEGER:
        for j in range(a.shape[0]):
            y = min(np.float32(a[j] / used), largest)
            rounded = np.float32(np.float32(y + _ROUNDS) - _ROUNDS)
            error = np.float64(np.float32(rounded * back)) - np.float64(a[j])
            terms[j] = error * error
    else:
        mantissa, smallest_exponent = how[MANTISSA], how[SMALLEST_EXPONENT]
        for j in range(a.shape[0]):
            y = min(np.float32(a[j] / used), largest)
            error = np.float64(np.float32(_on_grid(y, mantissa, smallest_exponent) * back)) - np.float64(a[j])
            terms[j] = error * error
    terms[a.shape[0] :] = 0.0
    size = terms.shape[0]
    while size > 1:
        half = (size + 1) // 2
        for j in range(size - half):
            terms[j] += terms[half + j]
        size = half
    return terms[0]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _quantile(a, bits, infinity, how, ordered):  # type: ignore[no-untyped-def]
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _try(step, x, whole, how, floats, g, tried):  # type: ignore[no-untyped-def]
    """Scale, zero point and threshold of one step of the search for the least squares (`shared_scales.py`)."""
    fractions, above, e4m3 = tried
    numbers, below = e4m3[0], e4m3[1]
    if how[KIND] == SHIFTED:
        return _range(x, np.float32(whole * fractions[step]), floats)
    if how[SCALING] == FREE:
        threshold = np.float32(whole * fractions[step])
        return np.float32(threshold / floats[LARGEST]), _ZERO, threshold
    if how[SCALING] == POWER_OF_TWO:
        exponent = _shared_exponent(whole, floats[LARGEST], how, FLOOR)
        return _power(exponent + above[step]), _ZERO, whole
    smallest = _e4m3_rank(_nearest_e4m3(whole, floats[LARGEST], g)) - below
    smallest = min(max(smallest, 1), _E4M3_NUMBERS - numbers + 1)
    return np.float32(_e4m3(smallest + numbers - 1 - step) / g), _ZERO, whole


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _chosen(x, a, bits, infinity, how, floats, g, tried, ordered, terms):  # type: ignore[no-untyped-def]
    """Scale, zero point and threshold of a group by a policy that clips."""
    if how[POLICY] == QUANTILE:
        threshold = _quantile(a, bits, infinity, how, ordered)
        if how[KIND] == SHIFTED:
            return _range(x, threshold, floats)
        return _scale_for(threshold, how, floats, g), _ZERO, threshold
    whole = _ZERO
    for j in range(a.shape[0]):
        whole = max(whole, a[j])
    if whole == _ZERO:
        return _ZERO, _ZERO, _ZERO
    steps = tried[0].shape[0]
    if how[SCALING] == POWER_OF_TWO:
        steps = tried[1].shape[0]
    elif how[SCALING] == TWO_LEVEL:
        steps = tried[2][0]
    scale, zero, threshold = _try(0, x, whole, how, floats, g, tried)
    least = _squares(x, a, scale, zero, how, floats, terms)
    for step in range(1, steps):
        other = _try(step, x, whole, how, floats, g, tried)
        lost = _squares(x, a, other[0], other[1], how, floats, terms)
        if lost < least:
            (scale, zero, threshold), least = other, lost
    return scale, zero, threshold


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _outside(x, scale, zero, threshold, floats):  # type: ignore[no-untyped-def]
    """How many elements of a group are outside an asymmetric range by more than half a step."""
    low, high = -np.float64(threshold), np.float64(threshold)
    if scale > _ZERO:
        low = (np.float64(floats[LOWEST]) - np.float64(zero) - 0.5) * np.float64(scale)
        high = (np.float64(floats[HIGHEST]) - np.float64(zero) + 0.5) * np.float64(scale)
    count = np.int64(0)
    for j in range(x.shape[0]):
        count += np.int64((np.float64(x[j]) < low) | (np.float64(x[j]) > high))
    return count


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_clipped(x, a, bits, infinity, size, how, floats, g, tried, ordered, terms, scales):  # type: ignore[no-untyped-def]
    """The scale of every element of a row by a policy that clips; returns how many elements are clipped."""
    scale, zero_point = scales
    clipped = np.int64(0)
    # What is lacking of the last group counts as zeros, but a row is not filled up (`blocks.py`).
    full = terms[:size] if how[GROUP] > 0 else terms[: a.shape[0]]
    for start in range(0, a.shape[0], size):
        stop = min(start + size, a.shape[0])
        mine = x[start:stop], a[start:stop]
        found, zero, threshold = _chosen(*mine, bits[start:stop], infinity, how, floats, g, tried, ordered, full)
        used = found if found > _ZERO else _NO_SCALE
        for j in range(start, stop):
            scale[j], zero_point[j] = used, zero
        if how[KIND] == SHIFTED:
            clipped += _outside(mine[0], found, zero, threshold, floats)
        elif how[SCALING] == FREE:
            for j in range(start, stop):
                clipped += np.int64(a[j] > threshold)
        else:
            clipped += _beyond(mine[1], found, floats[LARGEST])
    return clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_ranges(x, size, floats, scale, zero_point):  # type: ignore[no-untyped-def]
    """Scale and zero point of every element of a row, of an asymmetric format."""
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        found, zero, _ = _range(x[start:stop], _MAX, floats)
        used = found if found > _ZERO else _NO_SCALE
        for j in range(start, stop):
            scale[j], zero_point[j] = used, zero


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_chunk(bits_RC, infinity, x_RC, a_RC, largest_RU, channel_C, g, tried, how, floats, buffers):  # type: ignore[no-untyped-def]
    """Sums of |error| and error^2 of one way to quantize over a chunk, and how many elements are clipped.

    The sums are NaN where an element that is not 0 has no scale.
    """
    scale, zero_point, calibrated, groups, absolute, squared, terms = buffers
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
            scale[j] = found if found > _ZERO else _NO_SCALE
    for r in range(x_RC.shape[0]):
        a = a_RC[r]
        if how[GROUP] == CHANNEL:
            for j in range(channels):
                calibrated[j] = a_RC[r, j] if channel_C[j] > _ZERO else _ZERO
                unscaled |= a_RC[r, j] > calibrated[j]
                clipped += np.int64(calibrated[j] > channel_C[j])
            a = calibrated
        elif how[POLICY] != LARGEST_MAGNITUDE:
            filled = scale, zero_point
            clipped += _fill_clipped(
                x_RC[r], a, bits_RC[r], infinity, size, how, floats, g, tried, calibrated, terms, filled
            )
        elif how[KIND] == SHIFTED:
            _fill_ranges(x_RC[r], size, floats, scale, zero_point)
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
def add_rows(bits_RC, values, shifted, infinity, channel_C, whole, tried, ways, counts_P, errors_KW, clipped_KW):  # type: ignore[no-untyped-def]
    """Quantize a tensor in every way; count its codes.

    Args:
        bits_RC: uint16, the patterns of the tensor.
        values: float32 [65536] of the patterns; not looked at where `shifted` says that they are those of bfloat16.
        infinity: the pattern of +infinity.
        channel_C: float32, the largest |x| of each channel on the calibration split; 0 where there is none.
        whole: the largest of these; where it is 0, a format with two levels of scales has none.
        tried: by the policy of least squares (`shared_scales.py`): float32, fractions of the largest |x| of a group; int64, of
            blocks, exponents above that by `floor`; how many e4m3 numbers, and how many of these are below that for the largest.
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
        terms = np.empty(max(channels, LARGEST_GROUP), np.float64)
        buffers = (scale, zero_point, calibrated, groups, sums[0], sums[1], terms)
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
                    tried,
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
