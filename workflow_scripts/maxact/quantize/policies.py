"""Clipping policies: how a threshold follows from the calibration histogram.

* `max`: the largest |x|.
* `quantile_<q>`: the smallest |x| whose cumulative share is at least q.
* `mse`: least squared error on the calibration split. Thresholds are tried from the largest |x| down in steps of a
  quarter of an octave, then, around the best, of a 32nd of an octave.
* `entropy`: least Kullback-Leibler divergence of the quantized distribution of |x| from the clipped one, each in 2,048
  bins up to the threshold, as in the calibrator of TensorRT (Migacz, GTC 2017), but from the exact histogram, and with
  bins that follow the threshold: fixed ones hold nearly everything in the first where one value is massive. Thresholds
  are the same, each brought down to an |x| that occurs.

Among equals the largest threshold counts.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from maxact.histogram import Codes, Counts, abs_max, abs_quantile, fold_sign
from maxact.quantize.compiled import BINS, divergence, noise
from maxact.quantize.errors import Distribution
from maxact.quantize.formats import FORMATS, Format
from maxact.quantize.quantizers import quantizer, reconstruct

_OCTAVES = 24
_FINE = 32
_FINE_PER_STEP = 8

# Powers of two by 32nds of an octave, from square roots alone, which are exact to the last bit everywhere.
_ROOTS = [math.sqrt(0.5)]
for _ in range(4):
    _ROOTS.append(math.sqrt(_ROOTS[-1]))


def _down(steps: int) -> float:
    """2^(-steps / 32)."""
    octaves, rest = divmod(steps, _FINE)
    factor = 1.0
    for bit, root in enumerate(_ROOTS):
        if rest & (_FINE >> (bit + 1)):
            factor *= root
    return math.ldexp(factor, -octaves)


def threshold_of(policy: str, codes: Codes, counts: Counts, dtype: str, format: Format) -> float:
    """The clipping threshold of a policy on the calibration histogram; NaN where that is empty, 0 where all is 0."""
    largest = abs_max(codes, dtype)
    if policy == "max" or math.isnan(largest) or largest == 0:
        return largest
    if policy == "mse":
        return least_squares_threshold(Distribution.of(codes, counts, dtype), format)
    if policy == "entropy":
        return least_divergence_threshold(Distribution.of(*fold_sign(codes, counts), dtype), format)
    return abs_quantile(codes, counts, dtype, policy.partition("_")[2])


def least_squares_threshold(tensor: Distribution, format: Format) -> float:
    """The threshold of the policy `mse`; the tensor has an element that is not 0."""
    low, high = tensor.extremes
    largest, weights = max(-low, high), tensor.counts.astype(np.float64)
    smallest = float(np.abs(tensor.values[tensor.values != 0]).min())

    def loss(steps: int) -> float:
        how = quantizer(format, float(np.float32(largest * _down(steps))), low, high)
        return float(noise(tensor.values, weights, how.rule)) if how.threshold >= smallest else math.inf

    coarse = min(range(0, _OCTAVES * _FINE, _FINE_PER_STEP), key=loss)
    around = range(max(0, coarse - _FINE_PER_STEP + 1), coarse + _FINE_PER_STEP)
    return float(np.float32(largest * _down(min(around, key=loss))))


def least_divergence_threshold(magnitudes: Distribution, format: Format) -> float:
    """The threshold of the policy `entropy`, from the distribution of |x|, ascending, with an element that is not 0."""
    levels = _levels(format)
    largest = float(magnitudes.values[-1])
    wanted = np.array([largest * _down(steps) for steps in range(0, _OCTAVES * _FINE, _FINE_PER_STEP)])
    found = np.searchsorted(magnitudes.values, wanted.astype(np.float32), side="right") - 1
    best, least = largest, math.inf
    for index in dict.fromkeys(found[found >= 0].tolist()):
        threshold = float(magnitudes.values[index])
        if threshold > 0:
            lost = float(divergence(magnitudes.values, magnitudes.counts, threshold, levels))
            if lost < least:
                best, least = threshold, lost
    return best


@functools.cache
def _levels(format: Format) -> npt.NDArray[np.int64]:
    """Which bins up to a threshold are reconstructed alike, by their centres; an asymmetric format as if symmetric."""
    symmetric = FORMATS[format.name.removesuffix("_asymmetric")]
    centres = ((np.arange(BINS) + 0.5) / BINS).astype(np.float32)
    found = reconstruct(centres, quantizer(symmetric, 1.0))
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
