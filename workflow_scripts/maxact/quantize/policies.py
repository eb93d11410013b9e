"""Clipping policies: how a threshold follows from the calibration histogram.

* `max`: the largest |x|.
* `quantile_<q>`: the smallest |x| whose cumulative share is at least q.
* `mse`: least squared error on the calibration split. Thresholds are tried from the largest |x| down in steps of a
  quarter of an octave, then, around the best, of a 32nd of an octave.
* `entropy`: least Kullback-Leibler divergence of the quantized distribution of |x| from the clipped one, as in the
  calibrator of TensorRT (Migacz, "8-bit inference with TensorRT", GTC 2017). P is |x| in bins, with all that is clipped
  in the last; Q is what is not clipped, even over the bins of a level that occur; the search begins at 128 bins. Three
  things differ. Bins are a 256th of the median |x|, some 2,000 for normal data: 2,048 up to the largest |x| hold nearly
  everything in the first where one value is massive. Q is not scaled up to 1, so that clipping a share c costs
  -log(1 - c) more: otherwise P = Q where all that is kept is in one bin, however little that is. Zeros, which are exact
  under every threshold, are left out. Thresholds are those of the coarse search, each brought down to an |x| that occurs.
  As how far an element is moved does not count, one massive value among many is clipped. The slides have it for the
  128 levels of 8 bits. With few levels it clips next to nothing, by their steps too: what is clipped stands in one narrow
  bin of P, which costs more than wide levels do. So at 4 bits, on normal data, their steps stay more than 3 dB below
  `mse` and these more than 4; calibrators that know other widths minimize the squared error (PyTorch's
  HistogramObserver), as `mse` does.

Among equals the largest threshold counts.
"""

from __future__ import annotations

import math

import numpy as np

from maxact.histogram import Codes, Counts, abs_max, abs_quantile, fold_sign
from maxact.quantize.compiled import divergence, noise
from maxact.quantize.errors import Distribution
from maxact.quantize.formats import FORMATS, Format, quantile_of
from maxact.quantize.quantizers import quantizer

_OCTAVES = 24
_FINE = 32
_FINE_PER_STEP = 8

BINS_TO_MEDIAN = 256
FEWEST_BINS = 128
"""Of the policy `entropy`: bins up to the median of |x|, and up to the smallest threshold."""

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
    return abs_quantile(codes, counts, dtype, quantile_of(policy))


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
    """The threshold of the policy `entropy`, from the distribution of |x|, ascending, with an element that is not 0.

    An asymmetric format has the levels of the symmetric one.
    """
    symmetric = FORMATS[format.name.removesuffix("_asymmetric")]
    above = magnitudes.values > 0
    values, counts = magnitudes.values[above], magnitudes.counts[above]
    cumulative = np.cumsum(counts)
    median = float(values[np.searchsorted(2 * cumulative, cumulative[-1])])
    width, largest = median / BINS_TO_MEDIAN, float(values[-1])
    wanted = np.array([largest * _down(steps) for steps in range(0, _OCTAVES * _FINE, _FINE_PER_STEP)])
    found = np.searchsorted(values, wanted.astype(np.float32), side="right") - 1
    best, least = largest, math.inf
    for threshold in dict.fromkeys(values[found[found >= 0]].tolist()):
        if threshold >= FEWEST_BINS * width:
            rule = quantizer(symmetric, threshold).rule
            lost = float(divergence(values, counts, np.float32(threshold), width, rule))
            if lost < least:
                best, least = threshold, lost
    return best
