"""Two measurements compared in the plainest way: every value listed, fractions, every fall of the coins."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction


def apart(a: float, b: float) -> Fraction:
    """Of finite numbers."""
    largest = max(abs(Fraction(a)), abs(Fraction(b)))
    return abs(Fraction(a) - Fraction(b)) / largest if largest else Fraction(0)


def kolmogorov_smirnov(a: Sequence[float], b: Sequence[float]) -> Fraction:
    """Of two lists of values, each value as often as it occurs."""

    def share(values: Sequence[float], limit: float) -> Fraction:
        return Fraction(sum(value <= limit for value in values), len(values))

    return max(abs(share(a, limit) - share(b, limit)) for limit in [*a, *b])


def sign_test(larger_a: int, larger_b: int) -> Fraction:
    """The share of all falls of as many coins that are at least as uneven."""
    number = larger_a + larger_b
    falls = list(itertools.product((0, 1), repeat=number))
    uneven = abs(larger_a - larger_b)
    return Fraction(sum(abs(2 * sum(fall) - number) >= uneven for fall in falls), len(falls))
