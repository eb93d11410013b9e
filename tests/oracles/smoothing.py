"""Linear layers with both sides quantized, by plain loops over elements in float64; only scales and elements are float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from oracles.granularities import nearest

from maxact.quantize.formats import Floats, Format

F = np.float32
Matrix = Sequence[Sequence[float]]


def layer_errors(
    x_RC: Matrix, weight_OC: Matrix, scale_C: Sequence[float], format: Format, granularity: str, largest: float
) -> tuple[float, float, float]:
    """Relative RMSE of the input, of the output, and the share of the input that is clipped.

    Args:
        scale_C: what channels of the input are divided by.
        largest: what a static scale is for.
    """
    rows, made_w = [], []
    clipped = 0
    for x_C in x_RC:
        given = [float(F(x) / F(s)) for x, s in zip(x_C, scale_C, strict=True)]
        threshold = largest if granularity == "tensor" else max(map(abs, given))
        clipped += sum(abs(x) > largest for x in given) if granularity == "tensor" else 0
        if granularity != "none":
            given = [element(x, threshold, format) for x in given]
            rows.append([x * float(s) for x, s in zip(given, scale_C, strict=True)])
        else:
            rows.append(list(x_C))
    for w_C in weight_OC:
        given = [float(F(w) * F(s)) for w, s in zip(w_C, scale_C, strict=True)]
        threshold = max(map(abs, given))
        made_w.append([element(w, threshold, format) / float(s) for w, s in zip(given, scale_C, strict=True)])
    of_input = relative([(a, b) for made, x in zip(rows, x_RC, strict=True) for a, b in zip(made, x, strict=True)])
    of_output = relative(
        [
            (dot(made, made_w_C), dot(x, w_C))
            for made, x in zip(rows, x_RC, strict=True)
            for made_w_C, w_C in zip(made_w, weight_OC, strict=True)
        ]
    )
    return of_input, of_output, clipped / sum(map(len, x_RC))


def element(x: float, threshold: float, format: Format) -> float:
    """x with a scale for the threshold, quantized and dequantized."""
    scale = F(threshold) / F(format.elements.largest)
    if scale == 0:
        return 0.0
    y = min(max(float(F(x) / scale), -format.elements.largest), format.elements.largest)
    if isinstance(format.elements, Floats):
        return math.copysign(float(F(nearest(abs(y), format.elements)) * scale), y)
    return float(F(round(y)) * scale)


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def relative(pairs: Sequence[tuple[float, float]]) -> float:
    """Root of the sum of squared differences by that of the second squared; NaN where that is 0."""
    power = math.fsum(truth**2 for _, truth in pairs)
    return math.sqrt(math.fsum((made - truth) ** 2 for made, truth in pairs) / power) if power else math.nan
