"""Symmetric integer quantization of a whole tensor, and its error, from the exact histogram of the tensor.

Every element with the same bit pattern is reconstructed alike, so the error of a tensor is a sum over at most 65,536
patterns. Definitions follow the INT-8 check of the paper (arXiv 2605.15572).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maxact.histogram import Codes, Counts, abs_max, abs_quantile, code_values

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Error:
    """Reconstruction error over the finite elements of a tensor; NaN where it is not defined.

    Attributes:
        threshold: |x| above it is clipped.
        scale: step between two levels.
        elements: how many finite elements there are.
        mae, rmse: mean absolute and root mean square error.
        relative_mae, relative_rmse: these by mean |x| and by the root mean square of x.
        sqnr_db: 10 log10 of the power of x by the power of the error; NaN where either is zero.
        clip_rate: share of elements with |x| > threshold.
    """

    threshold: float
    scale: float
    elements: int
    mae: float
    rmse: float
    relative_mae: float
    relative_rmse: float
    sqnr_db: float
    clip_rate: float


def threshold_of(policy: str, codes: Codes, counts: Counts, dtype: str) -> float:
    """The clipping threshold of a policy on the calibration histogram; NaN where that is empty.

    Args:
        policy: "max", the largest |x|; or "quantile_0.999", that quantile of |x|.
    """
    return abs_max(codes, dtype) if policy == "max" else abs_quantile(codes, counts, dtype, policy.partition("_")[2])


def reconstruct(x: Float32, threshold: float, bits: int) -> Float32:
    """Quantize and dequantize, in float32: x / scale, rounded half to even, clamped to +-(2^(bits-1) - 1), times scale.

    scale = threshold / (2^(bits-1) - 1). A threshold of 0 leaves x as it is, by definition: there was nothing to calibrate
    on. A scale that underflows to 0 reconstructs every value as 0.
    """
    if threshold == 0:
        return x
    levels = np.float32(2 ** (bits - 1) - 1)
    scale = np.float32(threshold) / levels
    if scale == 0:
        return np.zeros_like(x)
    with np.errstate(over="ignore"):  # a quotient beyond float32 is clamped like any other
        reconstructed: Float32 = np.clip(np.rint(x / scale), -levels, levels) * scale
    return reconstructed


def error(codes: Codes, counts: Counts, dtype: str, threshold: float, bits: int) -> Error:
    """The error of quantizing a tensor with this histogram; sums are exactly rounded (`math.fsum`)."""
    elements = int(counts.sum())
    scale = float(np.float32(threshold) / np.float32(2 ** (bits - 1) - 1))
    if elements == 0 or math.isnan(threshold):
        return Error(threshold, scale, elements, *([math.nan] * 6))
    values, weights = code_values(dtype)[codes], counts.astype(np.float64)
    errors = np.abs(reconstruct(values.astype(np.float32), threshold, bits).astype(np.float64) - values)
    magnitudes = np.abs(values)
    mae, mean = math.fsum(weights * errors) / elements, math.fsum(weights * magnitudes) / elements
    noise, power = math.fsum(weights * errors**2) / elements, math.fsum(weights * values**2) / elements
    return Error(
        threshold=threshold,
        scale=scale,
        elements=elements,
        mae=mae,
        rmse=math.sqrt(noise),
        relative_mae=mae / mean if mean else math.nan,
        relative_rmse=math.sqrt(noise / power) if power else math.nan,
        sqnr_db=10 * math.log10(power / noise) if power and noise else math.nan,
        clip_rate=int(counts[magnitudes > threshold].sum()) / elements,
    )
