"""Symmetric integer quantization, applied to the tensors themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor


def finite_values(tensors: Sequence[Tensor]) -> Tensor:
    """All finite elements of all tensors, float32 [N]: the same numbers, since the tensors have 16 bits."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).float() if tensors else torch.empty(0)
    return flat[torch.isfinite(flat)]


def clipping_threshold(calibration: Sequence[Tensor], policy: str) -> float | None:
    """The largest |x|, or the smallest |x| that at least a share q of the elements does not exceed."""
    ordered = finite_values(calibration).abs().sort().values.tolist()
    if not ordered:
        return None
    if policy == "max":
        return ordered[-1]
    share = Fraction(policy.removeprefix("quantile_"))
    return next(value for index, value in enumerate(ordered, start=1) if Fraction(index, len(ordered)) >= share)


def fake_quantized(x: Tensor, threshold: float, bits: int) -> Tensor:
    """Every element divided, rounded, clamped and multiplied, in float32; a threshold of zero changes nothing."""
    if threshold == 0:
        return x.clone()
    top = 2 ** (bits - 1) - 1
    scale = torch.tensor(threshold, dtype=torch.float32) / top
    return torch.clamp(torch.round(x / scale), -top, top) * scale


def quantization_errors(
    calibration: Sequence[Tensor], evaluation: Sequence[Tensor], policy: str, bits: int
) -> dict[str, float | None]:
    """The errors by name, None where they are not defined."""
    threshold, x = clipping_threshold(calibration, policy), finite_values(evaluation)
    names = ("mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate")
    none = dict.fromkeys(names)
    if threshold is None or not len(x):
        return {"threshold": threshold, "elements": len(x), **none}
    error = (fake_quantized(x, threshold, bits).double() - x.double()).tolist()
    exact = x.double().tolist()
    mae = math.fsum(map(abs, error)) / len(error)
    mse = math.fsum(e * e for e in error) / len(error)
    mean = math.fsum(map(abs, exact)) / len(exact)
    power = math.fsum(value * value for value in exact) / len(exact)
    return {
        "threshold": threshold,
        "elements": len(x),
        "mae": mae,
        "rmse": math.sqrt(mse),
        "relative_mae": mae / mean if mean else None,
        "relative_rmse": math.sqrt(mse / power) if power else None,
        "sqnr_db": 10 * math.log10(power / mse) if mse and power else None,
        "clip_rate": sum(abs(value) > threshold for value in exact) / len(exact),
    }
