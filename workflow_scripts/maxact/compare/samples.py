"""Sample by sample: the largest |x| of each sample on both sides, where both measured the same tokens.

Samples are paired where both sides say by digest that their tokens are the same, or where both have the tokens and a sample
with the same name has the same ids. Nothing else pairs them: a number of samples that happens to be equal does not.

The sign test asks of the samples whose maxima are not equal whether one side is larger more often than a fair coin would have
it: P(at least as far from half) under the binomial distribution with p = 1/2, two-sided, in exact integers. It takes the
samples for independent of each other; of samples in strata it is conservative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from maxact.compare.sides import Side, known_same
from maxact.compare.sites import SitePair
from maxact.sites.components import COMPONENTS

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SamplePair:
    """The maxima of paired samples at a site, or of M.

    Attributes:
        site: `residual@11`, or `M`: over all sites that M ranges over and both sides measured.
        samples: how many have a finite value on both sides.
        differ: of how many the largest |x| is not the same number.
        beyond: of how many it is apart by more than the tolerance of `peak`.
        larger_a, larger_b: of how many it is larger on that side.
        ratio: the largest ratio of the two (the larger by the smaller); None where no sample differs, infinite where one is 0.
        sample: the number of that sample on the first side, then its values.
    """

    site: str
    samples: int
    differ: int
    beyond: int
    larger_a: int
    larger_b: int
    ratio: float | None
    sample: int | None
    a: float | None
    b: float | None

    @property
    def sign_test(self) -> float | None:
        """The probability of the sign test; None where no sample differs."""
        return sign_test(self.larger_a, self.larger_b)


def paired(a: Side, b: Side) -> tuple[pd.DataFrame, str]:
    """Which samples have the same tokens on both sides: a frame `a`, `b` of their numbers, and why, in words."""
    nothing = pd.DataFrame({"a": [], "b": []}, dtype="int64")
    for side in (a, b):
        if "samples" not in side.files:
            return nothing, f"{side.name} has no maxima of samples"
    if known_same("tokens", a, b):
        numbers = [
            set(pq.read_table(side.files["samples"], columns=["sample"])["sample"].to_pylist()) for side in (a, b)
        ]
        both = sorted(numbers[0] & numbers[1])
        return pd.DataFrame({"a": both, "b": both}, dtype="int64"), "the same tokens"
    if a.tokens is None or b.tokens is None:
        unknown = next(side for side in (a, b) if side.tokens is None)
        known = all(side.settings.get("tokens") is not None for side in (a, b))
        if known and a.study != b.study:
            return nothing, f"the tokens of {unknown.name} are not known to be those of the study, in its order"
        return nothing, "other tokens" if known else f"{unknown.name} does not tell its tokens"
    tables = [pq.read_table(side.tokens, columns=["sample", "id", "token_ids"]).to_pandas() for side in (a, b)]
    for table in tables:
        table["token_ids"] = [np.asarray(ids, dtype=np.int64).tobytes() for ids in table["token_ids"]]
    joined = tables[0].merge(tables[1], on=["id", "token_ids"], suffixes=("_a", "_b"))
    joined = joined.drop_duplicates("sample_a").drop_duplicates("sample_b")
    frame = joined[["sample_a", "sample_b"]].set_axis(["a", "b"], axis=1).astype("int64").reset_index(drop=True)
    return (
        frame,
        f"name and tokens: {len(frame)} of A's {len(tables[0])} and B's {len(tables[1])} samples have the same",
    )


def compare_samples(
    a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame, sites: Sequence[SitePair], tolerance: float
) -> list[SamplePair]:
    """A row for M, then one for each site with a paired sample.

    Args:
        a, b: tables `samples`.
        pairs: as `paired` gives them.
        sites: those that both sides measured.
    """
    first, second = _by_site(a, pairs["a"]), _by_site(b, pairs["b"])
    numbers = pairs["a"].to_numpy()
    rows = []
    M_a, M_b = (np.full(len(pairs), math.nan) for _ in (a, b))
    for site in sites:
        mine, theirs = (part.get(number) for part, number in zip((first, second), site.numbers, strict=True))
        if mine is None or theirs is None:
            continue
        rows.append(_row(_name(site), mine, theirs, numbers, tolerance))
        if COMPONENTS[site.component].in_M:
            M_a, M_b = np.fmax(M_a, mine), np.fmax(M_b, theirs)
    return [_row("M", M_a, M_b, numbers, tolerance), *(row for row in rows if row.samples)] if rows else []


def _name(site: SitePair) -> str:
    return site.component if site.layer is None else f"{site.component}@{site.layer}"


def _by_site(samples: pd.DataFrame, numbers: pd.Series[int]) -> dict[int, Values]:
    """Site -> the largest |x| of each paired sample, in the order of the pairs; NaN where it has no finite value."""
    extremes = [samples[name].to_numpy(np.float64, na_value=math.nan) for name in ("max", "min")]
    frame = pd.DataFrame(
        {"site": samples["site"], "sample": samples["sample"], "abs": np.fmax(extremes[0], -extremes[1])}
    )
    return {
        int(str(site)): part.set_index("sample")["abs"].reindex(numbers).to_numpy()
        for site, part in frame.groupby("site")
    }


def _row(site: str, a: Values, b: Values, numbers: npt.NDArray[np.int64], tolerance: float) -> SamplePair:
    finite = np.isfinite(a) & np.isfinite(b)
    a, b, numbers = a[finite], b[finite], numbers[finite]
    larger, smaller = np.maximum(a, b), np.minimum(a, b)
    differ = a != b
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(differ, (larger - smaller) / larger, 0.0)
        ratios = np.where(differ, larger / smaller, 1.0)
    place = int(np.argmax(ratios)) if differ.any() else None
    return SamplePair(
        site=site,
        samples=len(a),
        differ=int(differ.sum()),
        beyond=int((apart > tolerance).sum()),
        larger_a=int((a > b).sum()),
        larger_b=int((b > a).sum()),
        ratio=None if place is None else float(ratios[place]),
        sample=None if place is None else int(numbers[place]),
        a=None if place is None else float(a[place]),
        b=None if place is None else float(b[place]),
    )


def sign_test(larger_a: int, larger_b: int) -> float | None:
    """Two-sided probability of a split at least as uneven, were each side larger with probability 1/2; None of 0 and 0."""
    number = larger_a + larger_b
    if number == 0:
        return None
    tail = sum(math.comb(number, k) for k in range(min(larger_a, larger_b) + 1))
    return min(1.0, float(Fraction(2 * tail, 2**number)))
