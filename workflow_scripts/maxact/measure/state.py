"""What is kept of a site while samples go by: counts, maxima and places, nothing that depends on order.

`update` adds one sample, `merge` another shard's state of the same site. All is integers, maxima, or one quotient of
the same two integers, and ties go to the first place (sample, position, channel), so shards in any order end in the
same state.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from maxact.histogram import INFINITY_KEY, MAGNITUDE_MASK, code_values
from maxact.measure.reference import Keys, Nonfinite, Scan
from maxact.measurement import SPLITS, TOP

MASSIVE_MINIMUM = 100.0
MASSIVE_RATIO = 1000.0
"""A token passes if its |x| > 100 and > 1000 x the median |x| of its channels, as in the paper's code; compare Sun et
al. 2024, "Massive Activations in Large Language Models", where the median is that of the whole hidden state."""

MASSIVE_KEYS = {"bfloat16": 0x42C8, "float16": 0x5640, "float32": 0x42C80000}
"""Bit pattern of 100 in each dtype: no token of a sample whose largest key is below can pass."""

EXTREMES = 7
"""Numbers kept of a sample: sample, then signed key, position and channel of its largest and of its smallest value."""

NONE = 1 << 40
"""In place of a signed key, where a sample has no finite value."""


def key_values(keys: Keys, dtype: str) -> npt.NDArray[np.float64]:
    """The values of |x| whose bit patterns are `keys`."""
    if dtype == "float32":
        return keys.astype(np.uint32).view(np.float32).astype(np.float64)
    return code_values(dtype)[keys]


def signed_value(signed_key: int, dtype: str) -> float:
    """The value that a signed key stands for; zero has no sign."""
    value = float(key_values(np.array([abs(signed_key)]), dtype)[0])
    return -value if signed_key < 0 else value


@dataclass(frozen=True)
class Peak:
    """The largest |x|: key, first place, value with its sign as a signed key, and the ratio of its token."""

    key: int
    place: tuple[int, int, int]
    signed_key: int
    ratio: float

    def beats(self, other: Peak | None) -> bool:
        return other is None or (-self.key, self.place) < (-other.key, other.place)


@dataclass(frozen=True)
class Ratio:
    """The largest ratio of a token's |x| to its median, and the first place of such a token."""

    value: float
    place: tuple[int, int]

    def beats(self, other: Ratio | None) -> bool:
        return other is None or (-self.value, self.place) < (-other.value, other.place)


def _no_rows() -> npt.NDArray[np.int64]:
    return np.empty((0, 5), np.int64)


@dataclass
class SiteState:
    """The statistics of one site. `top` has rows of key, sample, position, channel, signed key."""

    dtype: str
    channels: int
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(SPLITS), 65536), np.int64))
    tokens: int = 0
    channel_max_C: Keys = field(init=False)
    channel_max_calibration_C: Keys = field(init=False)
    extremes: array[int] = field(default_factory=lambda: array("q"))
    top: npt.NDArray[np.int64] = field(default_factory=_no_rows)
    peak: Peak | None = None
    ratio: Ratio | None = None
    massive_tokens: int = 0
    massive_tokens_passed: int = 0
    nonfinite: tuple[int, int, int] = (0, 0, 0)
    nonfinite_place: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        self._massive_key = MASSIVE_KEYS[self.dtype]
        self.channel_max_C = np.full(self.channels, -1, np.int64)
        self.channel_max_calibration_C = np.full(self.channels, -1, np.int64)

    def update(self, sample: int, split: str, scan: Scan, bits_TC: npt.NDArray[np.unsignedinteger]) -> None:
        """Add one sample. Its codes are counted apart (`add_counts`), as kernels gather them over many samples."""
        self.tokens += len(bits_TC)
        np.maximum(self.channel_max_C, scan.channel_max_C, out=self.channel_max_C)
        if split == "calibration":
            np.maximum(self.channel_max_calibration_C, scan.channel_max_C, out=self.channel_max_calibration_C)
        none = (NONE, -1, -1)
        self.extremes.extend((sample, *(scan.largest or none), *(scan.smallest or none)))
        if scan.nonfinite is not None:
            self._add_nonfinite(sample, scan.nonfinite)
        if scan.largest is None:
            return
        ratios_T = self._massive(sample, scan)
        self._add_top(sample, scan, bits_TC)
        position = int(scan.row_max_T.argmax())
        key = int(scan.row_max_T[position])
        keys_C = bits_TC[position] & MAGNITUDE_MASK[self.dtype]
        channel = int((keys_C == key).argmax())
        signed = -key if bits_TC[position, channel] > MAGNITUDE_MASK[self.dtype] else key
        self._offer_peak(Peak(key, (sample, position, channel), signed, float(ratios_T[position])))

    def add_counts(self, split: str, counts: npt.NDArray[np.int64]) -> None:
        """Add counts of codes, int64 [65536]."""
        self.counts[SPLITS.index(split)] += counts

    def merge(self, other: SiteState) -> None:
        """Add what another shard has seen of this site; a sample is in one shard only.

        Raises:
            ValueError: the shards saw different dtypes or widths.
        """
        if (self.dtype, self.channels) != (other.dtype, other.channels):
            raise ValueError(f"shards differ: {self.dtype} x {self.channels} and {other.dtype} x {other.channels}")
        self.counts += other.counts
        self.tokens += other.tokens
        np.maximum(self.channel_max_C, other.channel_max_C, out=self.channel_max_C)
        calibration = self.channel_max_calibration_C
        np.maximum(calibration, other.channel_max_calibration_C, out=calibration)
        self.extremes.extend(other.extremes)
        self._keep_top(other.top)
        if other.peak is not None:
            self._offer_peak(other.peak)
        if other.ratio is not None and other.ratio.beats(self.ratio):
            self.ratio = other.ratio
        self.massive_tokens += other.massive_tokens
        self.massive_tokens_passed += other.massive_tokens_passed
        mine, theirs = self.nonfinite, other.nonfinite
        self.nonfinite = (mine[0] + theirs[0], mine[1] + theirs[1], mine[2] + theirs[2])
        self._offer_nonfinite_place(other.nonfinite_place)

    def _massive(self, sample: int, scan: Scan) -> npt.NDArray[np.float64]:
        """Count the tokens that pass; returns the ratio of each token (-1 where a token has no finite value)."""
        all_seen = scan.nonfinite is None
        seen_T = scan.row_max_T >= 0
        largest_T = key_values(scan.row_max_T if all_seen else np.maximum(scan.row_max_T, 0), self.dtype)
        medians_T = key_values(scan.medians_T if all_seen else np.maximum(scan.medians_T, 0), self.dtype)
        if scan.medians_T.min() > 0:
            ratios_T = largest_T / medians_T
        else:
            zero_T = medians_T == 0
            ratios_T = np.where(zero_T, np.inf, largest_T / np.where(zero_T, 1.0, medians_T))
        if not all_seen:
            ratios_T = np.where(seen_T, ratios_T, -1.0)
        if scan.row_max_T.max() >= self._massive_key:
            passed_T = seen_T & (largest_T > MASSIVE_MINIMUM) & (largest_T > MASSIVE_RATIO * medians_T)
            self.massive_tokens_passed += int(passed_T.sum())
        self.massive_tokens += int(seen_T.sum())
        position = int(ratios_T.argmax())
        offered = Ratio(float(ratios_T[position]), (sample, position))
        if offered.beats(self.ratio):
            self.ratio = offered
        return ratios_T

    def _add_top(self, sample: int, scan: Scan, bits_TC: npt.NDArray[np.unsignedinteger]) -> None:
        """Offer the elements that can reach the top: only rows whose maximum can are looked at."""
        tokens, largest = len(scan.row_max_T), int(scan.row_max_T.max())
        least = 0
        if len(self.top) == TOP:
            # An element as large as the last of the top gets in only if it stands before it.
            least = int(self.top[-1, 0]) + (int(self.top[-1, 1]) < sample)
            if largest < least:
                return
        rows = np.flatnonzero(scan.row_max_T >= least)
        if len(rows) > TOP:  # the hundredth of the tokens' maxima bounds what is among the hundred of this sample
            least = int(np.partition(scan.row_max_T, tokens - TOP)[tokens - TOP])
            rows = np.flatnonzero(scan.row_max_T >= least)
        if len(rows):
            bits_RC = bits_TC[rows]
            keys_RC = (bits_RC & MAGNITUDE_MASK[self.dtype]).astype(np.int64)
            row, channel = np.nonzero((keys_RC >= least) & (keys_RC < INFINITY_KEY[self.dtype]))
            keys = keys_RC[row, channel]
            first = np.argsort(-keys, kind="stable")[:TOP]  # elements come in order of place
            row, channel, keys = row[first], channel[first], keys[first]
            signed = np.where(bits_RC[row, channel] > MAGNITUDE_MASK[self.dtype], -keys, keys)
            self._keep_top(np.stack([keys, np.full(len(keys), sample), rows[row], channel, signed], axis=1))

    def _keep_top(self, offered: npt.NDArray[np.int64]) -> None:
        joined = np.concatenate([self.top, offered])
        key, sample, position, channel, _ = joined.T
        self.top = joined[np.lexsort((channel, position, sample, -key))[:TOP]]

    def _offer_peak(self, offered: Peak) -> None:
        if offered.beats(self.peak):
            self.peak = offered

    def _add_nonfinite(self, sample: int, found: Nonfinite) -> None:
        nan, positive, negative = self.nonfinite
        self.nonfinite = (nan + found.nan, positive + found.positive_infinity, negative + found.negative_infinity)
        self._offer_nonfinite_place((sample, found.position, found.channel))

    def _offer_nonfinite_place(self, place: tuple[int, int, int] | None) -> None:
        if place is not None and (self.nonfinite_place is None or place < self.nonfinite_place):
            self.nonfinite_place = place
