"""How sure a maximum is, by listing every draw, or in fractions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import comb

from maxact.corpus.choosing import largest_remainder


def expected_maximum(values: Sequence[float], n: int) -> Fraction:
    """Sum of x_(i) C(i-1, n-1) / C(N, n)."""
    ordered = sorted(map(Fraction, values))
    terms = (value * comb(at, n - 1) for at, value in enumerate(ordered))
    return sum(terms, Fraction(0)) / comb(len(ordered), n)


def listed_expected_maximum(values: Sequence[float], n: int) -> Fraction:
    return _mean(max(drawn) for drawn in itertools.combinations(values, n))


def stratified_expected_maximum(strata: dict[str, list[float]], n: int) -> Fraction:
    shares = largest_remainder(n, {name: len(values) for name, values in strata.items()})
    draws = [list(itertools.combinations(values, shares[name])) for name, values in strata.items()]
    return _mean(max(itertools.chain(*drawn)) for drawn in itertools.product(*draws))


def resampled(strata: dict[str, list[float]]) -> list[float]:
    """The maximum of every resample, smallest first."""
    draws = [list(itertools.product(values, repeat=len(values))) for values in strata.values()]
    return sorted(max(itertools.chain(*drawn)) for drawn in itertools.product(*draws))


def _mean(values: Iterable[float]) -> Fraction:
    found = [Fraction(value) for value in values]
    return sum(found, Fraction(0)) / len(found)
