"""Quantization applied to the tensors themselves, with torch's own dtypes where there are such."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

FLOAT8 = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
CASTS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def finite_values(tensors: Sequence[Tensor]) -> Tensor:
    """All finite elements of all tensors, float32 [N]: the same numbers, since the tensors have 16 bits."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).float() if tensors else torch.empty(0)
    return flat[torch.isfinite(flat)]


def thresholds_tried(largest: float, steps: range) -> list[float]:
    """From the largest |x| down, in steps of a 32nd of an octave."""
    return [float(torch.tensor(largest * 2.0 ** (-step / 32), dtype=torch.float32)) for step in steps]


def clipping_threshold(calibration: Sequence[Tensor], policy: str, format: str = "int8") -> float | None:
    """The threshold of a policy, by its definition; None where there is nothing to calibrate on."""
    x = finite_values(calibration)
    ordered = x.abs().sort().values.tolist()
    if not ordered:
        return None
    if policy == "max" or ordered[-1] == 0:
        return ordered[-1]
    if policy == "mse":
        return _least_squares(x, ordered[-1], format)
    if policy == "entropy":
        return _least_divergence(ordered, format.removesuffix("_asymmetric"))
    share = Fraction(policy.removeprefix("quantile_"))
    return next(value for index, value in enumerate(ordered, start=1) if Fraction(index, len(ordered)) >= share)


def _least_squares(x: Tensor, largest: float, format: str) -> float:
    smallest = float(x[x != 0].abs().min())

    def noise(step: int) -> float:
        threshold = thresholds_tried(largest, range(step, step + 1))[0]
        if threshold < smallest:
            return math.inf
        made = fake_quantized(x, threshold, format, (float(x.min()), float(x.max())))
        return math.fsum(((made.double() - x.double()) ** 2).tolist())

    coarse = min(range(0, 24 * 32, 8), key=noise)
    return thresholds_tried(largest, range(24 * 32))[min(range(max(0, coarse - 7), coarse + 8), key=noise)]


def _least_divergence(ordered: list[float], format: str) -> float:
    wanted = thresholds_tried(ordered[-1], range(0, 24 * 32, 8))
    occurring = [max((value for value in ordered if value <= limit), default=0.0) for limit in wanted]
    some = [value for value in ordered if value > 0]
    median = next(value for index, value in enumerate(some, start=1) if Fraction(index, len(some)) >= Fraction(1, 2))
    tried = [value for value in dict.fromkeys(occurring) if value >= median / 2]
    return min(tried, key=lambda threshold: divergence(some, threshold, median / 256, format))


def divergence(magnitudes: list[float], threshold: float, width: float, format: str) -> float:
    """Sum of p log(p / q): p of |x| clipped to the threshold, q of what is made of what is not, by bins of a width."""
    inside = Counter(math.floor(value / width) for value in magnitudes if value <= threshold)
    reference = Counter(math.floor(min(value, threshold) / width) for value in magnitudes)
    centres = torch.tensor([(index + 0.5) * width for index in inside], dtype=torch.float32)
    level = dict(zip(inside, fake_quantized(centres, threshold, format).tolist(), strict=True))
    mass: Counter[float] = Counter()
    for index, count in inside.items():
        mass[level[index]] += count
    occurring = Counter(level.values())
    return math.fsum(
        count / len(magnitudes) * math.log(count * occurring[level[index]] / mass[level[index]])
        for index, count in reference.items()
    )


def fake_quantized(x: Tensor, threshold: float, format: str, extremes: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Every element divided, rounded, clamped and multiplied, in float32; a threshold of zero changes nothing."""
    if format in CASTS:
        return x.to(CASTS[format]).float()
    if threshold == 0:
        return x.clone()
    if format in FLOAT8:
        top = torch.finfo(FLOAT8[format]).max
        scale = torch.tensor(threshold, dtype=torch.float32) / top
        return torch.clamp(x / scale, -top, top).to(FLOAT8[format]).float() * scale if scale else torch.zeros_like(x)
    bits = int(format.removeprefix("int").removesuffix("_asymmetric"))
    top = 2 ** (bits - 1) - 1
    if not format.endswith("_asymmetric"):
        scale = torch.tensor(threshold, dtype=torch.float32) / top
        return torch.clamp(torch.round(x / scale), -top, top) * scale if scale else torch.zeros_like(x)
    low, high = max(min(extremes[0], 0.0), -threshold), min(max(extremes[1], 0.0), threshold)
    scale = _step(low, high, 2**bits - 1)
    if not scale:
        return torch.zeros_like(x)
    zero_point = torch.clamp(torch.round(-top - 1 - torch.tensor(low, dtype=torch.float32) / scale), -top - 1, top)
    return (torch.clamp(torch.round(x / scale) + zero_point, -top - 1, top) - zero_point) * scale


def _step(low: float, high: float, levels: int) -> Tensor:
    width = torch.tensor(high, dtype=torch.float32) - torch.tensor(low, dtype=torch.float32)
    return width / levels if torch.isfinite(width) else torch.tensor((high - low) / levels, dtype=torch.float32)


def quantization_errors(
    calibration: Sequence[Tensor], evaluation: Sequence[Tensor], policy: str, format: str
) -> dict[str, float | None]:
    """The errors by name, None where they are not defined; of whole tensors."""
    x = finite_values(evaluation)
    threshold = None if format in CASTS else clipping_threshold(calibration, policy, format)
    names = ("mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate")
    none = dict.fromkeys(names)
    if format in CASTS:
        threshold = float(torch.finfo(CASTS[format]).max)
    known = finite_values(calibration)
    extremes = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if threshold is not None and format.endswith("_asymmetric"):
        threshold = max(abs(max(min(extremes[0], 0.0), -threshold)), min(max(extremes[1], 0.0), threshold))
    if threshold is None or not len(x) or (threshold == 0 and any(value != 0 for value in x.tolist())):
        return {"threshold": threshold, "elements": len(x), **none}
    made = fake_quantized(x, threshold, format, extremes)
    found = {"threshold": threshold, "elements": len(x), **errors_between(made, x)}
    return found | {"clip_rate": clip_rate(x, made, threshold, format, extremes)}


def clip_rate(
    x: Tensor, made: Tensor, threshold: float, format: str, extremes: tuple[float, float] = (0.0, 0.0)
) -> float:
    """The share of elements that the range does not reach."""
    if format in CASTS:
        beyond = torch.isinf(made)
    elif format.endswith("_asymmetric") and threshold:
        bits = int(format.removeprefix("int").removesuffix("_asymmetric"))
        top = 2 ** (bits - 1) - 1
        low, high = max(min(extremes[0], 0.0), -threshold), min(max(extremes[1], 0.0), threshold)
        scale = _step(low, high, 2**bits - 1)
        zero_point = float(torch.clamp(torch.round(-top - 1 - torch.tensor(low) / scale), -top - 1, top))
        ends = ((-top - 1 - zero_point - 0.5) * float(scale), (top - zero_point + 0.5) * float(scale))
        beyond = (x.double() < ends[0]) | (x.double() > ends[1])
    else:
        beyond = x.double().abs() > threshold
    return int(beyond.sum()) / len(x)


def errors_between(made: Tensor, x: Tensor) -> dict[str, float | None]:
    """What reconstruction loses, from exactly rounded sums in float64."""
    if torch.isinf(made).any():
        infinite = dict.fromkeys(("mae", "rmse", "relative_mae", "relative_rmse"), math.inf)
        return {**infinite, "sqnr_db": -math.inf}
    error = (made.double() - x.double()).tolist()
    exact = x.double().tolist()
    mae = math.fsum(map(abs, error)) / len(error)
    mse = math.fsum(e * e for e in error) / len(error)
    mean = math.fsum(map(abs, exact)) / len(exact)
    power = math.fsum(value * value for value in exact) / len(exact)
    return {
        "mae": mae,
        "rmse": math.sqrt(mse),
        "relative_mae": mae / mean if mean else None,
        "relative_rmse": math.sqrt(mse / power) if power else None,
        "sqnr_db": 10 * math.log10(power / mse) if mse and power else None,
    }


def decibels(calibration: Sequence[Tensor], evaluation: Sequence[Tensor], policy: str, format: str) -> float:
    """The SQNR; infinite where a tensor that is not all zeros is reconstructed exactly, NaN where it is not defined."""
    found = quantization_errors(calibration, evaluation, policy, format)
    if not found["threshold"] or found["relative_rmse"] is None:
        return math.nan
    return math.inf if found["rmse"] == 0 else float(found["sqnr_db"] or math.nan)


def bits_needed(
    calibration: Sequence[Tensor], evaluation: Sequence[Tensor], policy: str, target: float
) -> tuple[int | None, float]:
    """The fewest bits such that they and all wider integers, up to 16 bits, reach the target, and what they reach."""
    reached = {bits: decibels(calibration, evaluation, policy, f"int{bits}") for bits in range(2, 17)}
    enough = [bits for bits in reached if all(reached[wider] >= target for wider in range(bits, 17))]
    return (min(enough), reached[min(enough)]) if enough else (None, reached[16])


def published_divergence_threshold(x: Tensor, levels: int, bins: int = 2048, step: int = 2) -> float:
    """Migacz (GTC 2017), by the steps of the slides: 2,048 bins of |x|, from 128 of them on, each cut into `levels` parts.

    Args:
        step: only every so-many-th number of bins is tried.
    """
    magnitudes = x[x != 0].abs().double()
    largest = float(magnitudes.max())
    histogram = torch.histc(magnitudes, bins, 0, largest)
    best, least = largest, math.inf
    for kept in range(128, bins + 1, step):
        inside = histogram[:kept]
        p = inside.clone()
        p[-1] += histogram[kept:].sum()
        level = torch.arange(kept) * levels // kept
        mass, occurring = (torch.bincount(level, part) for part in (inside, (inside > 0).double()))
        q = torch.where(inside > 0, (mass / occurring)[level], 0.0)
        p, q = p / p.sum(), q / q.sum()
        there = p > 0
        lost = float((p[there] * (p[there] / q[there]).log()).sum())
        if lost < least:
            best, least = (kept + 0.5) * largest / bins, lost
    return best
