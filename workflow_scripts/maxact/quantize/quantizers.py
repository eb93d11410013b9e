"""A format with a scale: how thresholds become quantizers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maxact.quantize.compiled import CAST, FLOATING, INTEGER, SHIFTED, UNCHANGED, ZERO, Float32, Rule, reconstruct_all
from maxact.quantize.formats import Floats, Format


@dataclass(frozen=True)
class Quantizer:
    """A format with its scale: what reconstructs each element of a tensor (or of a channel, token or group).

    Attributes:
        threshold: |x| above it is clipped; of an asymmetric format, the larger end of its range.
        scale: step between two integers, or what a floating-point element is multiplied by.
    """

    format: Format
    threshold: float
    scale: float
    zero_point: int
    rule: Rule


def quantizer(format: Format, threshold: float, low: float | None = None, high: float | None = None) -> Quantizer:
    """The quantizer of a threshold.

    scale = threshold / largest element, in float32. An asymmetric format takes [low, high], cut to +-threshold and
    widened to hold 0: scale = (high - low) / (2^bits - 1), zero point = lowest - low / scale, rounded to even.

    A threshold of 0 leaves x as it is, by definition: there was nothing to calibrate on, and but for zeros its error is not
    defined (`errors.error`). A scale that underflows to 0
    reconstructs every value as 0.

    Args:
        threshold: not negative; with NaN nothing can be reconstructed. A cast does not look at it.
        low, high: smallest and largest x; needed where the format is asymmetric.
    """
    elements = format.elements
    if isinstance(elements, Floats):
        grid = (elements.mantissa, elements.smallest_exponent)
        highest = np.float32(elements.largest)
        if format.scaling == "none":
            rule = Rule(CAST, np.float32(1), -highest, highest, np.float32(0), *grid)
            return Quantizer(format, elements.largest, 1.0, 0, rule)
        scale = np.float32(threshold) / highest
        rule = Rule(_kind(threshold, scale, FLOATING), scale, -highest, highest, np.float32(0), *grid)
        return Quantizer(format, threshold, float(scale), 0, rule)
    lowest, highest = np.float32(elements.lowest), np.float32(elements.highest)
    zero_point = np.float32(0)
    if elements.symmetric:
        scale = np.float32(threshold) / highest
    else:
        if low is None or high is None:
            raise ValueError(f"{format.name} needs the smallest and largest x")
        low, high = max(min(low, 0.0), -threshold), min(max(high, 0.0), threshold)
        threshold = max(abs(low), high) if threshold == threshold else threshold
        with np.errstate(over="ignore"):
            scale = (np.float32(high) - np.float32(low)) / (highest - lowest)
        if np.isinf(scale):  # the range is beyond float32, its step is not
            scale = np.float32((high - low) / float(highest - lowest))
        if scale > 0:
            zero_point = np.clip(np.rint(lowest - np.float32(low) / scale), lowest, highest)
    kind = INTEGER if elements.symmetric else SHIFTED
    rule = Rule(_kind(threshold, scale, kind), scale, lowest, highest, zero_point, 0, 0)
    return Quantizer(format, threshold, float(scale), int(zero_point), rule)


def _kind(threshold: float, scale: np.float32, otherwise: int) -> int:
    return UNCHANGED if threshold == 0 else ZERO if scale == 0 else otherwise


def reconstruct(x: Float32, how: Quantizer) -> Float32:
    """Every element of x [N], all finite, quantized and dequantized in float32."""
    out = np.empty_like(x)
    reconstruct_all(x, how.rule, out)
    return out
