"""Scales for deployment, from stored statistics: of activations per tensor, and SmoothQuant's per channel.

A static scale is that of `quantizer`: the threshold that a policy takes from the calibration histogram, by the largest
element of the format. What it reaches is measured on the evaluation histogram.

SmoothQuant (Xiao et al. 2023, equation 4): for the channels j of what a norm gives to linear layers,

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)

X_j is channel j of what the layers are given, over the finite values of the calibration split; W_j is column j of the weights
[out, in] of all these layers together. s_j is 1 where either maximum is 0. It is computed in float64 and rounded to float32.
The model stays the same where X_j is divided by s_j (the norm's weight and bias, or 1 + weight in Gemma's norms) and W_j is
multiplied with it; (X / s)_j and (s W)_j are then what is quantized, and the static scales here are not theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maxact.quantize.errors import Distribution, Error, error
from maxact.quantize.formats import FORMATS
from maxact.quantize.policies import threshold_of
from maxact.quantize.quantizers import quantizer
from maxact.quantize.stage import Histogram

FORMATS_OF_SCALES = ("int8", "fp8_e4m3")
"""What a scale is exported for."""

SMALLEST = 2.0**-126
"""Of the normal float32; what is smaller is 0 on many devices."""

Maxima = npt.NDArray[np.float64]


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
        format: one of `FORMATS_OF_SCALES`.
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


def smoothing_scales(x_C: Maxima, w_C: Maxima, alpha: float) -> npt.NDArray[np.float32] | str:
    """s of equation 4, float32 [C], or why there is none.

    Args:
        x_C: max|X_j|; NaN where a channel had no finite value.
        w_C: max|W_j|.
        alpha: how much of the difficulty goes from the activations to the weights, 0 to 1.
    """
    for name, maxima in (("activations", x_C), ("weights", w_C)):
        wrong = np.flatnonzero(~np.isfinite(maxima))
        if len(wrong):
            return f"channel {wrong[0]} of the {name} has no finite maximum ({len(wrong)} of {len(maxima)} channels)"
    some = (x_C > 0) & (w_C > 0)
    s_C = np.ones(len(x_C))
    s_C[some] = x_C[some] ** alpha / w_C[some] ** (1 - alpha)
    with np.errstate(over="ignore", under="ignore"):
        rounded = s_C.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rounded) | (rounded < SMALLEST))
    if len(wrong):
        return f"s of channel {wrong[0]} is no normal float32"
    return rounded
