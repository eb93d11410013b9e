"""What keeping a few elements of a tensor as they are would save: those of the first token, or of the largest channels.

Whole tensors, thresholds from the evaluation split itself: the largest |x| of what is not protected. The row beside them
without protection has its threshold from the same split, so that the difference is that of the protection alone. A
protected element has no error, and counts with its power and as an element.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maxact.histogram import finite_codes
from maxact.quantize.compiled import sums
from maxact.quantize.errors import UNDEFINED, Distribution, Error, statistics
from maxact.quantize.formats import FORMATS, Format
from maxact.quantize.quantizers import Quantizer, quantizer
from maxact.quantize.stage import SCHEMA

Counts = npt.NDArray[np.int64]

PROTECTION = pa.schema(
    [
        ("site", pa.int16()),
        ("component", pa.string()),
        ("layer", pa.int16()),
        ("format", pa.string()),
        ("protected", pa.string()),  # nothing, first token, or so many channels
        ("share", pa.float64()),  # of the elements, that are protected
        *(SCHEMA.field(name) for name in ("threshold", "scale", "elements", "mae", "rmse")),
        *(SCHEMA.field(name) for name in ("relative_mae", "relative_rmse", "sqnr_db", "clip_rate")),
    ]
)

NOTHING = "nothing"
FIRST_TOKEN = "first token"


def channels_named(number: int) -> str:
    """The name of the protection of so many channels."""
    return "1 channel" if number == 1 else f"{number} channels"


def can_protect(format: Format) -> bool:
    """Whether the format is one of whole tensors with a scale to choose."""
    return format.scaling == "free"


def largest_channels(largest_C: npt.NDArray[Any], number: int) -> npt.NDArray[np.int64]:
    """The channels with the largest |x| on the calibration split, of equal ones the first; NaN where there is none."""
    order = np.argsort(-np.nan_to_num(np.asarray(largest_C, np.float64), nan=-1.0), kind="stable")
    return order[:number].astype(np.int64)


def protections(
    counts: Counts, protected: dict[str, Counts], dtype: str, formats: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row for each format with a scale to choose, and each protection, `NOTHING` first.

    Args:
        counts: int64 [65536], of all codes of the tensor.
        protected: by name, the counts of the codes that are kept as they are.
    """
    whole = _distribution(counts, dtype)
    rests = {name: _distribution(counts - kept, dtype) for name, kept in protected.items()}
    for format in (FORMATS[name] for name in formats if can_protect(FORMATS[name])):
        for name, rest in {NOTHING: whole, **rests}.items():
            how = _quantizer(format, rest)
            yield {
                "format": format.name,
                "protected": name,
                "share": 1 - rest.elements / whole.elements if whole.elements else math.nan,
                "threshold": how.threshold,
                "scale": how.scale,
                **vars(_error(whole, rest, how)),
            }


def _distribution(counts: Counts, dtype: str) -> Distribution:
    codes = np.flatnonzero((counts > 0) & finite_codes(dtype)).astype(np.uint16)
    return Distribution.of(codes, counts[codes], dtype)


def _quantizer(format: Format, rest: Distribution) -> Quantizer:
    """With the largest |x| of the rest as threshold; where there is no rest, one that leaves all as it is."""
    low, high = rest.extremes if rest.elements else (0.0, 0.0)
    return quantizer(format, max(-low, high), low, high)


def _error(whole: Distribution, rest: Distribution, how: Quantizer) -> Error:
    elements = whole.elements
    if elements == 0:
        return Error(elements, *UNDEFINED)
    _, _, magnitude, square, _ = sums(whole.values, whole.counts, how.rule, -math.inf, math.inf)
    absolute, squared, _, _, clipped = sums(rest.values, rest.counts, how.rule, -how.threshold, how.threshold)
    return Error(elements, *statistics(absolute, squared, magnitude, square, elements), clipped / elements)
