"""What is kept of a site while samples go by: counts, maxima and places, nothing that depends on order.

`update` adds one sample, `merge` another shard's state of the same site. All is integers, maxima, exact sums, or one
quotient of the same two integers, and ties go to the first place (sample, position, expert, channel), so shards in any order
end in the same state.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from maxact.measure.massive import Massive
from maxact.measure.reference import Nonfinite, Scan
from maxact.measure.rows import Integers, Rows
from maxact.measurement import SPLITS, TOKEN_CLASSES, TOP

EXTREMES = 7
"""Numbers kept of a sample: sample, then signed key, position and channel of its largest and of its smallest value."""

NONE = -(1 << 31)
"""In place of a signed key, where a sample has no finite value."""

TOP_COLUMNS = ("key", "sample", "position", "expert", "channel", "signed", "token")

Place = tuple[int, int, int, int]
"""Sample, position, expert, channel."""


class Peak(NamedTuple):
    """A largest |x|: its key, first place, the value with its sign as a signed key, and the median of its row as a key."""

    key: int
    place: Place
    signed_key: int
    median_key: int

    def beats(self, other: Peak | None) -> bool:
        return other is None or (-self.key, self.place) < (-other.key, other.place)


@dataclass
class SiteState:
    """The statistics of one site.

    Attributes:
        counts: of each code and split, int64 [splits, 65536].
        rows: how many there were; tokens, or pairs of token and expert.
        extremes: `EXTREMES` numbers of each sample.
        top: rows of `TOP_COLUMNS`, the largest first.
        class_tokens, class_peaks: of each of `TOKEN_CLASSES`.
        expert_peaks: of each expert, where rows went through experts.
        nonfinite: counts of NaN, +infinity, -infinity; the first place of any.
    """

    dtype: str
    channels: int
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(SPLITS), 65536), np.int64))
    rows: int = 0
    channel_max_C: Integers = field(init=False)
    channel_max_calibration_C: Integers = field(init=False)
    extremes: array[int] = field(default_factory=lambda: array("i"))
    top: Integers = field(default_factory=lambda: np.empty((0, len(TOP_COLUMNS)), np.int64))
    peak: Peak | None = None
    massive: Massive = field(default_factory=Massive)
    class_tokens: Integers = field(default_factory=lambda: np.zeros(len(TOKEN_CLASSES), np.int64))
    class_peaks: list[Peak | None] = field(default_factory=lambda: [None] * len(TOKEN_CLASSES))
    expert_peaks: dict[int, Peak] = field(default_factory=dict)
    nonfinite: tuple[int, int, int] = (0, 0, 0)
    nonfinite_place: Place | None = None

    def __post_init__(self) -> None:
        self.channel_max_C = np.full(self.channels, -1, np.int64)
        self.channel_max_calibration_C = np.full(self.channels, -1, np.int64)

    def least(self, sample: int) -> int:
        """The smallest key with which an element of that sample can get into the top."""
        if len(self.top) < TOP:
            return 0
        # An element as large as the last gets in only if it stands before it.
        return int(self.top[-1, 0]) + (int(self.top[-1, 1]) < sample)

    def split_counts(self, split: str) -> npt.NDArray[np.int64]:
        """The counts of one split, to add to."""
        counts: npt.NDArray[np.int64] = self.counts[SPLITS.index(split)]
        return counts

    def update(self, rows: Rows, scan: Scan) -> None:
        """Add one sample, whose codes have been added to the counts already."""
        self.rows += len(rows.position_R)
        np.maximum(self.channel_max_C, scan.channel_max_C, out=self.channel_max_C)
        if rows.split == "calibration":
            np.maximum(self.channel_max_calibration_C, scan.channel_max_C, out=self.channel_max_calibration_C)
        self.extremes.append(rows.sample)
        for extreme in (scan.largest, scan.smallest):
            if extreme is None:
                self.extremes.extend((NONE, -1, -1))
            else:
                self.extremes.extend((extreme[0], int(rows.position_R[extreme[1]]), extreme[2]))
        if scan.nonfinite is not None:
            self._add_nonfinite(rows, scan.nonfinite)
        self.class_tokens += np.bincount(rows.class_R, minlength=len(TOKEN_CLASSES))
        if scan.largest is None:
            return
        found = self.massive.update(scan.row_max_T, scan.medians_T, rows, self.dtype)
        self.peak = self._better(self.peak, found.peak, rows, scan)
        for number, row in enumerate(found.best_K.tolist()):
            if row >= 0:
                self.class_peaks[number] = self._better(self.class_peaks[number], row, rows, scan)
        if rows.expert_R is not None:
            for expert, row in enumerate(_best_rows(scan.row_max_T, rows.expert_R).tolist()):
                better = None if row < 0 else self._better(self.expert_peaks.get(expert), row, rows, scan)
                if better is not None:
                    self.expert_peaks[expert] = better
        self._add_top(rows, scan.top_N)

    def merge(self, other: SiteState) -> None:
        """Add what another shard has seen of this site; a sample is in one shard only.

        Raises:
            ValueError: the shards saw different dtypes or widths.
        """
        if (self.dtype, self.channels) != (other.dtype, other.channels):
            raise ValueError(f"shards differ: {self.dtype} x {self.channels} and {other.dtype} x {other.channels}")
        self.counts += other.counts
        self.rows += other.rows
        np.maximum(self.channel_max_C, other.channel_max_C, out=self.channel_max_C)
        calibration = self.channel_max_calibration_C
        np.maximum(calibration, other.channel_max_calibration_C, out=calibration)
        self.extremes.extend(other.extremes)
        self._keep_top(other.top)
        self.peak = _first(self.peak, other.peak)
        self.massive.merge(other.massive)
        self.class_tokens += other.class_tokens
        self.class_peaks = [
            _first(mine, theirs) for mine, theirs in zip(self.class_peaks, other.class_peaks, strict=True)
        ]
        for expert, peak in other.expert_peaks.items():
            mine = self.expert_peaks.get(expert)
            self.expert_peaks[expert] = peak if peak.beats(mine) or mine is None else mine
        nan, positive, negative = (sum(pair) for pair in zip(self.nonfinite, other.nonfinite, strict=True))
        self.nonfinite = (nan, positive, negative)
        self._offer_nonfinite_place(other.nonfinite_place)

    def _better(self, known: Peak | None, row: int, rows: Rows, scan: Scan) -> Peak | None:
        """The peak of that row, if it beats the one that is known."""
        key = int(scan.row_max_T[row])
        if known is not None and key < known.key:
            return known
        channel, signed_key = scan.peak_of(row)
        return _first(known, Peak(key, (*rows.place(row), channel), signed_key, int(scan.medians_T[row])))

    def _add_top(self, rows: Rows, top_N: Integers) -> None:
        if not len(top_N):
            return
        key_N, row_N, channel_N, signed_N = top_N.T
        expert_N = np.full(len(row_N), -1) if rows.expert_R is None else rows.expert_R[row_N]
        sample_N = np.full(len(row_N), rows.sample)
        columns = (key_N, sample_N, rows.position_R[row_N], expert_N, channel_N, signed_N, rows.token_R[row_N])
        self._keep_top(np.stack(columns, axis=1))

    def _keep_top(self, offered: Integers) -> None:
        joined = np.concatenate([self.top, offered])
        key, sample, position, expert, channel = joined.T[:5]
        self.top = joined[np.lexsort((channel, expert, position, sample, -key))[:TOP]]

    def _add_nonfinite(self, rows: Rows, found: Nonfinite) -> None:
        nan, positive, negative = self.nonfinite
        self.nonfinite = (nan + found.nan, positive + found.positive_infinity, negative + found.negative_infinity)
        self._offer_nonfinite_place((*rows.place(found.row), found.channel))

    def _offer_nonfinite_place(self, place: Place | None) -> None:
        if place is not None and (self.nonfinite_place is None or place < self.nonfinite_place):
            self.nonfinite_place = place


def _first(mine: Peak | None, theirs: Peak | None) -> Peak | None:
    return theirs if theirs is not None and theirs.beats(mine) else mine


@numba.njit(nogil=True, cache=True)
def _best_rows(row_max_R, expert_R):  # type: ignore[no-untyped-def]  # numba infers
    """By expert, the first row with the largest |x|; -1 where there is none."""
    best = np.full(expert_R.max() + 1, -1)
    for r in range(row_max_R.shape[0]):
        expert, key = expert_R[r], row_max_R[r]
        if key >= 0 and (best[expert] < 0 or key > row_max_R[best[expert]]):
            best[expert] = r
    return best
