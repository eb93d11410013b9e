"""The link between error and M in plain loops over lists: slow, and written apart from the library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations


def log(value: float | None) -> float | None:
    """Decimal logarithm; None of what is missing, NaN, infinite, or not above zero."""
    if value is None or math.isnan(value) or math.isinf(value) or value <= 0:
        return None
    return math.log10(value)


def mean(values: Sequence[float]) -> Fraction:
    return sum((Fraction(value) for value in values), Fraction(0)) / len(values)


def covariance(x: Sequence[float], y: Sequence[float]) -> Fraction:
    """Sum of products about the means, in fractions."""
    mean_x, mean_y = mean(x), mean(y)
    return sum(((Fraction(a) - mean_x) * (Fraction(b) - mean_y) for a, b in zip(x, y, strict=True)), Fraction(0))


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """None of fewer than three points, or of a constant."""
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return float(covariance(x, y)) / math.sqrt(float(covariance(x, x)) * float(covariance(y, y)))


def ranks(values: Sequence[float]) -> list[float]:
    """How many are smaller, and half of the equal ones, itself among them, and a half."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    return pearson(ranks(x), ranks(y))


def residuals(y: Sequence[float], z: Sequence[float]) -> list[Fraction]:
    """What the least-squares line in z leaves of y."""
    slope, mean_y, mean_z = covariance(y, z) / covariance(z, z), mean(y), mean(z)
    return [Fraction(b) - mean_y - slope * (Fraction(c) - mean_z) for b, c in zip(y, z, strict=True)]


def partial(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> float | None:
    """Correlation of what the lines in z leave of x and of y."""
    if len(x) < 4 or len(set(z)) == 1:
        return None
    left_x, left_y = residuals(x, z), residuals(y, z)
    power_x, power_y = (float(sum(value * value for value in left)) for left in (left_x, left_y))
    product = float(sum(a * b for a, b in zip(left_x, left_y, strict=True)))
    return product / math.sqrt(power_x * power_y) if power_x and power_y else None


def permutation_p(x: Sequence[float], y: Sequence[float]) -> float:
    """The share of all permutations of y whose rank correlation with x is as far from 0 as that of y, or farther."""
    double_x, double_y = ([int(2 * rank) for rank in ranks(values)] for values in (x, y))
    centre = len(x) * (len(x) + 1) ** 2  # what the sum of products is without correlation

    def distance(order: Sequence[int]) -> int:
        return abs(sum(map(int.__mul__, double_x, order)) - centre)

    least = distance(double_y)
    reached = [distance(order) >= least for order in permutations(double_y)]
    return sum(reached) / len(reached)


def closed_p(p: Sequence[Fraction]) -> list[Fraction]:
    """By the closed testing that Holm's method abbreviates: the largest Bonferroni p of all sets of tests that a test is in."""
    found = []
    for number in range(len(p)):
        others = [other for other in range(len(p)) if other != number]
        largest = Fraction(0)
        for size in range(len(p)):
            for chosen in combinations(others, size):
                smallest = min(p[other] for other in (number, *chosen))
                largest = max(largest, min(Fraction(1), (size + 1) * smallest))
        found.append(largest)
    return found


def family_means(families: Sequence[str], values: Sequence[float]) -> list[float]:
    """The mean of each family, in order of names; equal ones are the same float, as fractions decide."""
    found = []
    for family in sorted(set(families)):
        found.append(float(mean([value for name, value in zip(families, values, strict=True) if name == family])))
    return found
