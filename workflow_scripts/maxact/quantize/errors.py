"""The error of quantizing a tensor, from its exact histogram.

Every element with the same bit pattern is reconstructed alike, so the error of a tensor is a sum over at most 65,536
patterns. Sums are in order of the codes and compensated (Neumaier), so that they depend on the counts alone, and equal
the exactly rounded sums to a few units in the last place of float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maxact.histogram import Codes, Counts, code_values
from maxact.quantize.compiled import Float32, sums
from maxact.quantize.quantizers import Quantizer


@dataclass(frozen=True)
class Error:
    """Reconstruction error over the finite elements of a tensor; NaN where it is not defined.

    Attributes:
        elements: how many finite elements there are.
        mae, rmse: mean absolute and root mean square error; infinite where an element became infinite.
        relative_mae, relative_rmse: these by mean |x| and by the root mean square of x.
        sqnr_db: 10 log10 of the power of x by the power of the error; NaN where either is zero.
        clip_rate: share of elements with |x| > threshold; of a cast, that became infinite; of an asymmetric format, that
            its range does not reach within half a step.
    """

    elements: int
    mae: float
    rmse: float
    relative_mae: float
    relative_rmse: float
    sqnr_db: float
    clip_rate: float


UNDEFINED = (math.nan,) * 6
"""The numbers of an error where there is nothing to reconstruct, or no scale to do it with."""


@dataclass(frozen=True)
class Distribution:
    """A histogram with the values of its codes at hand.

    Attributes:
        values: float32 [K], of the codes, in their order.
        counts: int64 [K].
    """

    values: Float32
    counts: Counts

    @staticmethod
    def of(codes: Codes, counts: Counts, dtype: str) -> Distribution:
        """The distribution of a histogram of finite values of a 16-bit dtype."""
        return Distribution(code_values(dtype)[codes].astype(np.float32), np.ascontiguousarray(counts, np.int64))

    @property
    def elements(self) -> int:
        return int(self.counts.sum())

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.values.min()), float(self.values.max())


def error(tensor: Distribution, how: Quantizer) -> Error:
    """The error of a quantizer on a tensor with this distribution.

    A threshold of 0 is no scale: under it the error is not defined, but for zeros, which are exact.
    """
    elements = tensor.elements
    if elements == 0 or math.isnan(how.threshold) or (how.threshold == 0 and tensor.values.any()):
        return Error(elements, *UNDEFINED)
    absolute, squared, magnitude, square, clipped = sums(tensor.values, tensor.counts, how.rule, *held(how))
    return Error(elements, *statistics(absolute, squared, magnitude, square, elements), clipped / elements)


def held(how: Quantizer) -> tuple[float, float]:
    """From where to where elements are not clipped: to the threshold, or half a step beyond an asymmetric range."""
    if how.format.asymmetric and how.scale:
        steps = float(how.rule.lowest) - how.zero_point - 0.5, float(how.rule.highest) - how.zero_point + 0.5
        return steps[0] * how.scale, steps[1] * how.scale
    return -how.threshold, how.threshold


def statistics(
    absolute: float, squared: float, magnitude: float, square: float, elements: int
) -> tuple[float, float, float, float, float]:
    """mae, rmse, relative_mae, relative_rmse and sqnr_db from sums of |error|, error^2, |x| and x^2."""
    if math.isinf(squared):
        return math.inf, math.inf, math.inf, math.inf, -math.inf
    return (
        absolute / elements,
        math.sqrt(squared / elements),
        absolute / magnitude if magnitude else math.nan,
        math.sqrt(squared / square) if square else math.nan,
        10 * math.log10(square / squared) if square and squared else math.nan,
    )
