"""Static scales of activations per tensor for deployment, from stored statistics.

A static scale is that of `quantizer`: the threshold that a policy takes from the calibration histogram, by the largest
element of the format. What it reaches is measured on the evaluation histogram.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from maxact.quantize.errors import Distribution, Error, error
from maxact.quantize.formats import FORMATS
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.quantize.stage import Histogram

SMALLEST = 2.0**-126
"""Of the normal float32; what is smaller is 0 on many devices."""


@dataclass(frozen=True)
class Scale:
    """A static scale: an element is x / scale, rounded and clipped.

    Attributes:
        threshold: |x| above it is clipped.
        error: what the scale reaches on the evaluation split.
    """

    threshold: float
    scale: float
    error: Error


def static_scale(calibration: Histogram, evaluation: Histogram, dtype: str, format: str, policy: str) -> Scale | str:
    """The scale of a tensor, or why it has none: nothing finite, nothing but zeros, or next to nothing.

    Args:
        dtype: of the histograms, "bfloat16" or "float16".
        format: int8 or fp8_e4m3.
    """
    threshold = threshold_of(policy, *calibration, dtype, FORMATS[format])
    if math.isnan(threshold):
        return "the calibration split has no finite value here"
    if threshold == 0:
        return "the threshold is 0: the calibration split gives no scale"
    how = quantizer(FORMATS[format], threshold)
    if not SMALLEST <= how.scale < math.inf:
        return f"the scale of the threshold {threshold:g} is no normal float32"
    return Scale(how.threshold, how.scale, error(Distribution.of(*evaluation, dtype), how))
