"""Scales for deployment by plain loops over the tensors themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from oracles.quantize import clipping_threshold
from torch import Tensor

LARGEST = {"int8": 127.0, "fp8_e4m3": 448.0}


def static_scale(calibration: Sequence[Tensor], format: str, policy: str) -> float | None:
    """threshold / largest element in float32; None where nothing is finite or all of it is 0."""
    threshold = clipping_threshold(calibration, policy, format)
    if not threshold:
        return None
    return float(torch.tensor(threshold, dtype=torch.float32) / LARGEST[format])


def smoothing_scales(inputs: Sequence[Tensor], weights: Sequence[Tensor], alpha: float) -> list[float]:
    """s_j of SmoothQuant for inputs [..., C] and the weights [out, C] of all layers that are given them."""
    found = []
    for channel in range(inputs[0].shape[-1]):
        x = max(abs(value) for tensor in inputs for value in tensor[..., channel].flatten().tolist())
        w = max(abs(value) for weight in weights for value in weight[:, channel].tolist())
        found.append(1.0 if x == 0 or w == 0 else math.pow(x, alpha) / math.pow(w, 1 - alpha))
    return found
