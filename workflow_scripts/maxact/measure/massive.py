"""The massive-activation test of every row, and what else follows from a row's largest |x| and its median.

A token passes if its largest |x| > 100 and > 1000 x the median |x| of its channels, as in the paper's code; compare Sun et
al. 2024, "Massive Activations in Large Language Models", where the median is that of the whole hidden state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from maxact.histogram import code_values
from maxact.measure import exact_sums
from maxact.measure.exact_sums import Sums
from maxact.measure.rows import Integers, Rows
from maxact.measurement import TOKEN_CLASSES

MASSIVE_MINIMUM = 100.0
MASSIVE_RATIO = 1000.0

Floats = npt.NDArray[np.float64]


def key_values(keys: Integers, dtype: str) -> Floats:
    """The values of |x| whose bit patterns are `keys`."""
    if dtype == "float32":
        return keys.astype(np.uint32).view(np.float32).astype(np.float64)
    return code_values(dtype)[keys]


def signed_value(signed_key: int, dtype: str) -> float:
    """The value that a signed key stands for; zero has no sign."""
    value = float(key_values(np.array([abs(signed_key)]), dtype)[0])
    return -value if signed_key < 0 else value


class Ratio(NamedTuple):
    """The largest ratio of a row's |x| to its median, the first such row, and the keys of both."""

    value: float
    place: tuple[int, int, int]
    key: int
    median_key: int

    def beats(self, other: Ratio | None) -> bool:
        return other is None or (-self.value, self.place) < (-other.value, other.place)


@dataclass
class Massive:
    """The test over all rows of a site.

    Attributes:
        rows: with at least one finite value.
        passed: of these, those that pass.
        zero_medians: of these, those whose median is 0, so that their ratio is infinite; they are in no sum.
        sums, square_sums: of the ratio, exact, and of its square, rounded for each row.
    """

    rows: int = 0
    passed: int = 0
    zero_medians: int = 0
    ratio: Ratio | None = None
    sums: Sums = field(default_factory=exact_sums.nothing)
    square_sums: Sums = field(default_factory=exact_sums.nothing)

    def update(self, row_max_R: Integers, medians_R: Integers, rows: Rows, dtype: str) -> Found:
        """Add the rows of one sample; returns what was found on the way."""
        largest_R, middle_R = (key_values(np.maximum(keys_R, 0), dtype) for keys_R in (row_max_R, medians_R))
        found = Found(len(TOKEN_CLASSES))
        _fold(row_max_R, largest_R, middle_R, rows.class_R, self.sums, self.square_sums, found.numbers, found.best_K)
        seen, passed, zeros, best, _ = found.numbers.tolist()
        self.rows, self.passed, self.zero_medians = self.rows + seen, self.passed + passed, self.zero_medians + zeros
        if best >= 0:
            value = float(largest_R[best] / middle_R[best]) if middle_R[best] else np.inf
            offered = Ratio(value, rows.place(best), int(row_max_R[best]), int(medians_R[best]))
            if offered.beats(self.ratio):
                self.ratio = offered
        return found

    def merge(self, other: Massive) -> None:
        """Add another shard's rows."""
        self.rows += other.rows
        self.passed += other.passed
        self.zero_medians += other.zero_medians
        self.sums += other.sums
        self.square_sums += other.square_sums
        if other.ratio is not None and other.ratio.beats(self.ratio):
            self.ratio = other.ratio

    def columns(self, dtype: str) -> dict[str, Any]:
        """Of the table `sites`."""
        columns: dict[str, Any] = {"massive_tokens": self.rows, "massive_tokens_passed": self.passed}
        columns["massive_zero_median_tokens"] = self.zero_medians
        counted = self.rows - self.zero_medians
        if counted:
            mean, square = exact_sums.total(self.sums) / counted, exact_sums.total(self.square_sums) / counted
            columns["massive_mean_ratio"] = float(mean)
            columns["massive_std_ratio"] = math.sqrt(max(float(square - mean**2), 0.0))
        if self.ratio is not None:
            columns |= {"massive_max_ratio": self.ratio.value}
            columns["massive_max_ratio_sample"], columns["massive_max_ratio_position"], _ = self.ratio.place
            columns["massive_max_ratio_abs"] = signed_value(self.ratio.key, dtype)
            columns["massive_max_ratio_median"] = signed_value(self.ratio.median_key, dtype)
        return columns


class Found:
    """Of one sample: the first row with the largest |x|, in all and of each class of tokens; -1 where there is none."""

    def __init__(self, classes: int) -> None:
        self.numbers = np.empty(5, np.int64)
        self.best_K = np.empty(classes, np.int64)

    @property
    def peak(self) -> int:
        return int(self.numbers[4])


@numba.njit(nogil=True, cache=True)
def _fold(row_max_R, largest_R, middle_R, class_R, sums, square_sums, numbers, best_K):  # type: ignore[no-untyped-def]
    """Fills `numbers` (rows with a finite value, rows that pass, zero medians, first row of the largest ratio, first of the
    largest |x|) and `best_K` (first row of the largest |x| of each class)."""
    seen, passed, zeros, best, peak = 0, 0, 0, -1, -1
    best_ratio, best_K[:] = -1.0, -1
    for r in range(row_max_R.shape[0]):
        key = row_max_R[r]
        if key < 0:
            continue
        seen += 1
        largest, middle = largest_R[r], middle_R[r]
        if largest > MASSIVE_MINIMUM and largest > MASSIVE_RATIO * middle:
            passed += 1
        if middle > 0:
            ratio = largest / middle
            exact_sums.add(sums, ratio)
            exact_sums.add(square_sums, ratio * ratio)
        else:
            ratio = np.inf
            zeros += 1
        if ratio > best_ratio:
            best, best_ratio = r, ratio
        if peak < 0 or key > row_max_R[peak]:
            peak = r
        k = class_R[r]
        if best_K[k] < 0 or key > row_max_R[best_K[k]]:
            best_K[k] = r
    numbers[0], numbers[1], numbers[2], numbers[3], numbers[4] = seen, passed, zeros, best, peak
