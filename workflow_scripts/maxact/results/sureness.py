"""How sure a maximum is, from the largest |x| of every sample: exact arithmetic, no forward pass and no random draw.

A stratified draw takes from each domain its share, independently, so the distribution function of its maximum is the product
of the domains'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maxact.corpus.choosing import largest_remainder

Floats = npt.NDArray[np.float64]


def expected_maximum(values_N: Floats) -> Floats:
    """The expected maximum of n of the N values, drawn without replacement, for n = 1 to N; float64 [N].

    With x_(i) the i-th smallest value it is the sum of x_(i) C(i-1, n-1) / C(N, n).

    Args:
        values_N: none negative.
    """
    sorted_N = np.sort(values_N)
    count = len(sorted_N)
    rank_N = np.arange(1, count + 1, dtype=np.float64)
    below_N = np.ones(count)  # C(i, n) / C(N, n): all n are among the i smallest
    found_N = np.empty(count)
    for n in range(1, count + 1):
        below_N *= np.maximum(rank_N - (n - 1), 0) / (count - (n - 1))
        found_N[n - 1] = np.sum(sorted_N * below_N * (n / rank_N))
    return found_N


def stratified_expected_maximum(strata: Mapping[str, Floats]) -> Floats:
    """As `expected_maximum`, with the n shared out among the strata by their sizes (largest remainder).

    Args:
        strata: the values of each; none negative, no stratum empty.
    """
    steps_V = np.unique(np.concatenate(list(strata.values())))
    sizes = {name: len(values) for name, values in strata.items()}
    total = sum(sizes.values())
    tables = {
        name: _below(len(values))[:, np.searchsorted(np.sort(values), steps_V, side="right")]
        for name, values in strata.items()
    }
    gaps = np.diff(steps_V)
    found_N = np.empty(total)
    for n in range(1, total + 1):
        below_V = np.ones(len(steps_V))
        for name, share in largest_remainder(n, sizes).items():
            below_V = below_V * tables[name][share]
        # The smallest value and, for each gap, how probable it is to be above it: no terms that cancel each other.
        found_N[n - 1] = steps_V[0] + np.sum((1 - below_V[:-1]) * gaps)
    return found_N


def _below(count: int) -> Floats:
    """C(k, n) / C(count, n) for n and k from 0 to count, [n, k]."""
    k = np.arange(count + 1, dtype=np.float64)
    rows = [np.ones(count + 1)]
    for n in range(1, count + 1):
        rows.append(rows[-1] * np.maximum(k - (n - 1), 0) / (count - (n - 1)))
    return np.stack(rows)


@dataclass(frozen=True)
class Resampled:
    """The maximum of a resample: as many values again from each stratum, drawn with replacement.

    Attributes:
        mean, std: of its distribution.
        low, high: its 5 % and 95 % quantiles, the smallest value with that probability below or at it.
        same: the probability that it is the maximum of all values.
    """

    mean: float
    std: float
    low: float
    high: float
    same: float


def resampled_maximum(strata: Mapping[str, Floats]) -> Resampled:
    """The exact distribution of the maximum over all resamples; a bootstrap would draw some of them.

    Args:
        strata: the values of each, no stratum empty.
    """
    steps_V = np.unique(np.concatenate(list(strata.values())))
    below_V = np.ones(len(steps_V))
    for values in strata.values():
        here = np.searchsorted(np.sort(values), steps_V, side="right")
        below_V = below_V * (here / len(values)) ** len(values)
    at_V = np.diff(below_V, prepend=0.0)
    mean = float(np.sum(at_V * steps_V))
    return Resampled(
        mean=mean,
        std=float(np.sqrt(np.sum(at_V * (steps_V - mean) ** 2))),
        low=float(steps_V[np.argmax(below_V >= 0.05)]),
        high=float(steps_V[np.argmax(below_V >= 0.95)]),
        same=float(at_V[-1]),
    )


def new_maximum_bound(samples: int, further: int) -> float:
    """At most this probability has a maximum among `further` samples above that of `samples`, if all are exchangeable."""
    return further / (samples + further)


def further_within(samples: int, probability: float) -> int:
    """The most further samples for which `new_maximum_bound` is at most `probability`."""
    further = int(probability * samples / (1 - probability)) + 1
    while further and new_maximum_bound(samples, further) > probability:
        further -= 1
    return further


def maximum_without(strata: Mapping[str, Floats]) -> dict[str, float | None]:
    """The maximum of all strata but each one; None where there is no other."""
    largest = {name: float(values.max()) for name, values in strata.items()}
    return {name: max((value for other, value in largest.items() if other != name), default=None) for name in strata}
