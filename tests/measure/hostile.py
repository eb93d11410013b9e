"""Tensors that break careless statistics, by name, in each dtype."""

from __future__ import annotations

import numpy as np
import torch
from oracles.statistics import Sampled

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
KINDS = (
    "normal", "any pattern", "few values", "zeros of both signs", "no positive", "no negative", "positive",
    "negative", "subnormal", "nothing finite", "some rows not finite", "infinities", "massive", "rounding",
)  # fmt: skip


def patterns(codes: np.ndarray, dtype: str) -> torch.Tensor:
    """The tensor whose bit patterns are `codes`."""
    if dtype == "float32":
        return torch.from_numpy(codes.astype(np.uint32).view(np.int32)).view(torch.float32)
    return torch.from_numpy(codes.astype(np.uint16).view(np.int16)).view(DTYPES[dtype])


def tensor(kind: str, dtype: str, tokens: int, channels: int, rng: np.random.Generator) -> torch.Tensor:
    """One [tokens, channels] tensor."""
    shape, of = (tokens, channels), DTYPES[dtype]
    normal = torch.from_numpy(rng.standard_normal(shape))
    infinity = torch.finfo(of).max * torch.tensor(2.0, dtype=torch.float64)
    if kind == "normal":
        return (normal * torch.from_numpy(rng.lognormal(0, 2, (tokens, 1)))).to(of)
    if kind == "any pattern":
        return patterns(rng.integers(0, 1 << (32 if dtype == "float32" else 16), shape), dtype)
    if kind == "few values":
        return torch.from_numpy(rng.choice([-2.5, -1.0, -0.0, 0.0, 1.0, 2.5], shape)).to(of)
    if kind == "zeros of both signs":
        return torch.from_numpy(rng.choice([-0.0, 0.0], shape)).to(of)
    if kind == "no positive":
        return torch.from_numpy(rng.choice([-2.5, -0.0, 0.0], shape)).to(of)
    if kind == "no negative":
        return torch.from_numpy(rng.choice([2.5, -0.0, 0.0], shape)).to(of)
    if kind == "positive":
        return normal.abs().to(of)
    if kind == "negative":
        return -normal.abs().to(of)
    if kind == "subnormal":
        sign = 1 << (31 if dtype == "float32" else 15)
        return patterns(rng.integers(0, 5, shape) + sign * rng.integers(0, 2, shape), dtype)
    if kind == "nothing finite":
        return torch.from_numpy(rng.choice([np.nan, np.inf, -np.inf], shape)).to(of)
    if kind == "some rows not finite":
        normal[rng.random(tokens) < 0.4] = torch.nan
        return normal.to(of)
    if kind == "infinities":
        normal[torch.from_numpy(rng.random(shape) < 0.1)] = infinity
        return torch.where(torch.from_numpy(rng.random(shape) < 0.5), normal, -normal).to(of)
    if kind == "massive":
        normal[torch.from_numpy(rng.random(shape) < 0.05)] *= 4000
        normal[torch.from_numpy(rng.random(shape) < 0.02)] = 1000.0
        normal[rng.random(tokens) < 0.2] *= 0.1
        return torch.where(torch.from_numpy(rng.random(shape) < 0.3), 0.1, normal).to(of)
    if kind == "rounding":  # between bfloat16 values, exactly halfway, and past the largest
        bits = (rng.integers(0, 1 << 16, shape) << 16) + rng.choice([0, 0x7FFF, 0x8000, 0x8001], shape)
        past = rng.random(shape) < 0.1
        wide = patterns(np.where(past, 0x7F7FFFFF, bits), "float32")
        return wide.to(of)
    raise ValueError(kind)


def samples(kind: str, dtype: str, shape: tuple[int, int], number: int, seed: int) -> list[Sampled]:
    """Several samples of one width, of random lengths up to `shape`'s, split in turn."""
    rng = np.random.default_rng([seed, *shape])
    splits = ("calibration", "evaluation", "rest")
    lengths = [shape[0], *rng.integers(1, shape[0] + 1, number - 1).tolist()]
    return [
        (3 * index + 1, splits[index % 3], tensor(kind, dtype, length, shape[1], rng))
        for index, length in enumerate(lengths)
    ]
