"""The INT-8 check of "Measuring Maximum Activations in Open Large Language Models", as its authors compute it.

From their `quant_sanity_check.py` (github.com/clx1415926/Max_act_llm), all in float32 but for totals:

* The threshold is the largest |x| of the calibration samples, or a quantile of |x| read off a linear histogram of B bins: |x| is
  in bin floor(|x| / largest * (B - 1)), cut to 0 ... B - 1; the bin is the first at which the cumulative count reaches
  ceil(q * N), and the threshold is largest * bin / (B - 1), the lower end of that bin. Where that is 0 the policy is left out.
* x is clipped to +-threshold, divided by threshold / (2^(bits - 1) - 1), rounded to even, clamped, and multiplied again.

One massive value puts nearly everything into the first bins, so such a threshold may be far below the quantile. What the bin
says of the true quantile is a bound: not below its lower end, and below its upper end.

On a GPU their division is by a reciprocal, and an |x| at the edge of a bin may fall into the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maxact.histogram import Codes, Counts, abs_max, code_values, fold_sign
from maxact.quantize.errors import Error, statistics


@dataclass(frozen=True)
class Threshold:
    """A threshold by their method.

    Attributes:
        value: NaN where there is no finite value.
        bin: of the linear histogram; None where the threshold is the largest |x|.
        at_least, below: the bound on the true quantile.
    """

    value: float
    bin: int | None = None
    at_least: float = math.nan
    below: float = math.nan


def largest(codes: Codes, dtype: str) -> Threshold:
    """Their policy `max_abs`."""
    return Threshold(abs_max(codes, dtype))


def linear_quantile(codes: Codes, counts: Counts, dtype: str, quantile: float, bins: int) -> Threshold:
    """Their policy `clip_q<quantile>`."""
    upper = abs_max(codes, dtype)
    if not upper > 0:
        return Threshold(upper)
    magnitudes, folded = fold_sign(codes, counts)
    x = code_values(dtype)[magnitudes].astype(np.float32)
    bin_K = np.clip(np.floor(x / np.float32(upper) * np.float32(bins - 1)).astype(np.int64), 0, bins - 1)
    cumulative = np.cumsum(np.bincount(bin_K, weights=folded, minlength=bins).astype(np.int64))
    target = max(1, math.ceil(quantile * int(folded.sum())))
    found = int(np.searchsorted(cumulative, target))
    ends = [upper * end / (bins - 1) for end in (found, found + 1)]
    return Threshold(ends[0], found, ends[0], ends[1])


def their_error(codes: Codes, counts: Counts, dtype: str, threshold: float, bits: int) -> Error | None:
    """Their errors of symmetric integers; None where they leave the policy out, as its threshold is 0, or NaN.

    The SQNR is NaN where they write infinity, for no error, and ratios to nothing are NaN where they write 0.
    """
    elements = int(counts.sum())
    if not threshold > 0 or not elements:
        return None
    x = code_values(dtype)[codes].astype(np.float32)
    highest, limit = np.float32(2 ** (bits - 1) - 1), np.float32(threshold)
    scale = np.float32(threshold / float(highest))
    made = np.clip(np.rint(np.clip(x, -limit, limit) / scale), -highest, highest) * scale
    lost = np.abs((made - x).astype(np.float64))
    size, weights = np.abs(x.astype(np.float64)), counts.astype(np.float64)
    absolute, squared, magnitude, square = (
        math.fsum(weights * values) for values in (lost, lost * lost, size, size * size)
    )
    clipped = int(counts[np.abs(x) > limit].sum())
    return Error(elements, *statistics(absolute, squared, magnitude, square, elements), clipped / elements)
