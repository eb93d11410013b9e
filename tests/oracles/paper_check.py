"""The INT-8 check of arXiv 2605.15572, as its authors' code defines it, on whole tensors by torch.

Their sums over elements are float32 on the device; here they are exactly rounded, of the same float32 elements.
"""

from __future__ import annotations

import math

from torch import Tensor


def threshold(calibration: Tensor, quantile: float | None, bins: int) -> tuple[float, int | None]:
    """The largest |x|, or the quantile as they read it off a linear histogram, with its bin."""
    size = calibration.float().abs().reshape(-1)
    largest = size.max().item()
    if quantile is None:
        return largest, None
    if not largest > 0:
        return largest, None
    counts = [0] * bins
    for bin in (size / largest * (bins - 1)).floor().long().clamp(0, bins - 1).tolist():
        counts[bin] += 1
    wanted, seen = max(1, math.ceil(quantile * size.numel())), 0
    for bin, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return largest * bin / (bins - 1), bin
    raise AssertionError("the counts are fewer than the elements")


def errors(evaluation: Tensor, limit: float, bits: int) -> dict[str, float]:
    """What they write for a policy whose threshold is above 0."""
    x = evaluation.float().reshape(-1)
    highest = 2 ** (bits - 1) - 1
    scale = limit / highest
    made = (x.clamp(-limit, limit) / scale).round().clamp(-highest, highest) * scale
    lost = (made - x).double()
    count, power = x.numel(), math.fsum((x.double() ** 2).tolist())
    error = math.fsum((lost**2).tolist())
    mae, mean = math.fsum(lost.abs().tolist()) / count, math.fsum(x.double().abs().tolist()) / count
    return {
        "count": count,
        "mae": mae,
        "rmse": math.sqrt(error / count),
        "rel_mae": mae / mean if mean else 0.0,
        "rel_rmse": math.sqrt(error / count) / math.sqrt(power / count) if power else 0.0,
        "sqnr_db": 10 * math.log10(power / error) if error and power else math.inf,
        "clip_rate": int((x.abs() > limit).sum()) / count,
    }
