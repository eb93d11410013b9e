"""The statistics of one site by the plainest means: all values in float64, loops, sorting, exact fractions.

Shares no code with the library. Values come out of torch by `.double()`, never out of bit patterns, and are compared as
values; only the histogram speaks of patterns, taken from torch's own view.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

Sampled = tuple[int, str, torch.Tensor]
"""Sample number, split, tensor [tokens, channels]."""

Place = tuple[int, int, int]
"""Sample, position, channel."""


@dataclass
class SiteStatistics:
    """What the oracle finds. `summary` has the columns of the table `sites`, the rest is keyed as the other tables."""

    summary: dict[str, Any] = field(default_factory=dict)
    histogram: dict[tuple[str, int], int] = field(default_factory=dict)
    extremes: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    channel_max: dict[int, float | None] = field(default_factory=dict)
    channel_max_calibration: dict[int, float | None] = field(default_factory=dict)
    top: list[tuple[float, Place]] = field(default_factory=list)
    classes: dict[str, tuple[int, float | None, Place | None]] = field(default_factory=dict)


def site_statistics(
    samples: list[Sampled], quantiles: tuple[str, ...], classes: dict[int, list[str]] | None = None
) -> SiteStatistics:
    """Everything about one site that was seen in `samples`; `classes` are those of each sample's tokens."""
    found = SiteStatistics()
    everything = [
        (value, (sample, position, channel))
        for sample, _, x in samples
        for position, row in enumerate(x.double().tolist())
        for channel, value in enumerate(row)
    ]
    finite = [(value, place) for value, place in everything if math.isfinite(value)]
    odd = [(value, place) for value, place in everything if not math.isfinite(value)]
    summary = found.summary
    summary["tokens"] = sum(len(x) for _, _, x in samples)
    summary["count"] = len(everything)
    summary["nan"] = sum(math.isnan(value) for value, _ in odd)
    summary["positive_infinity"] = sum(value == math.inf for value, _ in odd)
    summary["negative_infinity"] = sum(value == -math.inf for value, _ in odd)
    first_odd = min((place for _, place in odd), default=(None, None, None))
    name_place(summary, "nonfinite", first_odd)

    counted = [(split, value, code) for _, split, x in samples for value, code in histogram_values(x)]
    found.histogram = dict(Counter((split, code) for split, value, code in counted if math.isfinite(value)))
    values = [value for _, value, _ in counted if math.isfinite(value)]
    summary |= distribution(values, quantiles)
    summary["max"] = max((value for value, _ in finite), default=None)
    summary["min"] = min((value for value, _ in finite), default=None)

    ranked = sorted(finite, key=lambda item: (-abs(item[0]), item[1]))
    found.top = ranked[:100]
    name_place(summary, "peak", ranked[0][1] if ranked else (None, None, None))
    summary["peak"] = abs(ranked[0][0]) if ranked else None
    summary["peak_signed"] = ranked[0][0] if ranked else None
    summary |= massive_tokens(samples, ranked[0][1] if ranked else None)

    for sample, _, x in samples:
        rows = [(value, place[1], place[2]) for value, place in finite if place[0] == sample]
        largest = min(rows, key=lambda item: (-item[0], item[1], item[2]), default=(None, None, None))
        smallest = min(rows, key=lambda item: (item[0], item[1], item[2]), default=(None, None, None))
        found.extremes[sample] = (*largest, *smallest)
        assert x.dim() == 2
    for name in {name for names in (classes or {}).values() for name in names}:
        mine = [item for item in ranked if classes and classes[item[1][0]][item[1][1]] == name]
        tokens = sum(names.count(name) for names in (classes or {}).values())
        found.classes[name] = (tokens, *((mine[0][0], mine[0][1]) if mine else (None, None)))
    calibration = {sample for sample, split, _ in samples if split == "calibration"}
    channels = samples[0][2].shape[1]
    found.channel_max = largest_by_channel(finite, channels)
    found.channel_max_calibration = largest_by_channel([item for item in finite if item[1][0] in calibration], channels)
    return found


def name_place(summary: dict[str, Any], prefix: str, place: tuple[int | None, ...]) -> None:
    for name, number in zip(("sample", "position", "channel"), place, strict=True):
        summary[f"{prefix}_{name}"] = number


def histogram_values(x: torch.Tensor) -> list[tuple[float, int]]:
    """Value and 16-bit pattern of every element; of float32 after rounding to bfloat16, kept finite if it was."""
    if x.dtype != torch.float32:
        codes = [code & 0xFFFF for code in x.contiguous().view(torch.int16).flatten().tolist()]
        return list(zip(x.double().flatten().tolist(), codes, strict=True))
    rounded = []
    for value, bits in zip(x.flatten().tolist(), x.contiguous().view(torch.int32).flatten().tolist(), strict=True):
        if not math.isfinite(value):
            rounded.append((value, -1))
            continue
        high, low = (bits & 0xFFFFFFFF) >> 16, bits & 0xFFFF
        up = low > 0x8000 or (low == 0x8000 and high % 2 == 1)
        code = high + up
        if code & 0x7FFF == 0x7F80:  # rounded past the largest finite value
            code -= 1
        pattern = torch.tensor([code - 0x10000 if code >= 0x8000 else code], dtype=torch.int16)
        rounded.append((pattern.view(torch.bfloat16).double().item(), code))
    return rounded


def distribution(values: list[float], quantiles: tuple[str, ...]) -> dict[str, Any]:
    """Moments from exact fractions; quantiles from the sorted |x|."""
    names = ["abs_median", *(f"quantile_{q}" for q in quantiles)]
    if not values:
        nothing = dict.fromkeys(["mean", "std", "abs_mean", "rms", *names])
        return {**nothing, "massive_elements_by_site_median": 0}
    count, exact = len(values), [Fraction(value) for value in values]
    mean = sum(exact, Fraction(0)) / count
    magnitudes = sorted(abs(value) for value in values)
    found = {
        "mean": float(mean),
        "std": root(sum(((value - mean) ** 2 for value in exact), Fraction(0)) / count),
        "abs_mean": float(sum(abs(value) for value in exact) / count),
        "rms": root(sum((value**2 for value in exact), Fraction(0)) / count),
    }
    for name, q in zip(names, ("0.5", *quantiles), strict=True):
        found[name] = magnitudes[math.ceil(Fraction(q) * count) - 1]
    median = found["abs_median"]
    found["massive_elements_by_site_median"] = sum(value > 100 and value > 1000 * median for value in magnitudes)
    return found


def root(value: Fraction) -> float:
    """Square root, without losing values whose squares float64 cannot hold."""
    scale = 2**400
    return math.sqrt(float(value)) if float(value) > 1e-280 else math.sqrt(float(value * scale**2)) / scale


def massive_tokens(samples: list[Sampled], peak: Place | None) -> dict[str, Any]:
    """The test of massive activations per token."""
    ratios: dict[tuple[int, int], float] = {}
    pairs: dict[Any, tuple[float, float]] = {}
    passed = 0
    for sample, _, x in samples:
        for position, row in enumerate(x.double().tolist()):
            magnitudes = sorted(abs(value) for value in row if math.isfinite(value))
            if not magnitudes:
                continue
            median, largest = magnitudes[(len(magnitudes) - 1) // 2], magnitudes[-1]
            ratios[sample, position] = largest / median if median else math.inf
            pairs[sample, position] = largest, median
            passed += largest > 100 and largest > 1000 * median
    highest = max(ratios.values(), default=None)
    where = min((place for place, ratio in ratios.items() if ratio == highest), default=(None, None))
    finite = [Fraction(ratio) for ratio in ratios.values() if math.isfinite(ratio)]
    mean = sum(finite, Fraction(0)) / len(finite) if finite else None
    return {
        "massive_tokens": len(ratios),
        "massive_tokens_passed": passed,
        "massive_zero_median_tokens": len(ratios) - len(finite),
        "massive_mean_ratio": None if mean is None else float(mean),
        "massive_std_ratio": None if mean is None else root(sum((r - mean) ** 2 for r in finite) / len(finite)),
        "massive_max_ratio": highest,
        "massive_max_ratio_sample": where[0],
        "massive_max_ratio_position": where[1],
        "massive_max_ratio_abs": pairs[where][0] if highest is not None else None,
        "massive_max_ratio_median": pairs[where][1] if highest is not None else None,
        "massive_peak_ratio": ratios[peak[:2]] if peak else None,
        "massive_peak_median": pairs[peak[:2]][1] if peak else None,
    }


def largest_by_channel(finite: list[tuple[float, Place]], channels: int) -> dict[int, float | None]:
    by_channel: dict[int, list[float]] = defaultdict(list)
    for value, place in finite:
        by_channel[place[2]].append(abs(value))
    return {channel: max(by_channel[channel], default=None) for channel in range(channels)}


def token_ranks(top: list[tuple[float, Place]]) -> list[tuple[int, int]]:
    """For each entry of a top: rank of its token among the tokens there, and its own rank within the token."""
    order: list[tuple[int, int]] = []
    ranks = []
    for number, (_, place) in enumerate(top):
        if place[:2] not in order:
            order.append(place[:2])
        within = sum(other[:2] == place[:2] for _, other in top[:number])
        ranks.append((order.index(place[:2]), within))
    return ranks
