"""Statistics read off a histogram of bit patterns equal those of the values that were counted."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxact.histogram import abs_max, abs_quantile, abs_quantiles, code_values, finite_codes, fold_sign, moments

DTYPES = ("bfloat16", "float16")


def counted(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, counts = np.unique(codes.astype(np.uint16), return_counts=True)
    return unique, counts.astype(np.int64)


def value_of(code: int, dtype: str) -> float:
    """Sign, exponent and fraction by arithmetic."""
    exponent_bits, fraction_bits = (8, 7) if dtype == "bfloat16" else (5, 10)
    sign = -1.0 if code >> 15 else 1.0
    exponent, fraction = (code >> fraction_bits) & ((1 << exponent_bits) - 1), code & ((1 << fraction_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    if exponent == (1 << exponent_bits) - 1:
        return math.nan if fraction else sign * math.inf
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias - fraction_bits)
    return sign * math.ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_code_has_its_value(dtype: str) -> None:
    expected = np.array([value_of(code, dtype) for code in range(65536)])
    np.testing.assert_array_equal(code_values(dtype), expected)
    assert math.copysign(1, code_values(dtype)[0x8000]) == -1
    np.testing.assert_array_equal(finite_codes(dtype), [math.isfinite(value) for value in expected])


def test_a_dtype_of_another_width_has_no_codes() -> None:
    with pytest.raises(ValueError, match="float32"):
        code_values("float32")


def test_tables_of_values_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        code_values("bfloat16")[0] = 1


@given(
    dtype=st.sampled_from(DTYPES),
    drawn=st.lists(st.integers(0, 65535), max_size=60),
    q=st.sampled_from(["0", "0.25", "0.5", "0.75", "0.9", "0.999", "0.99999", "1"]),
)
def test_statistics_equal_those_of_the_values(dtype: str, drawn: list[int], q: str) -> None:
    kept = [code for code in drawn if math.isfinite(value_of(code, dtype))]
    values = [value_of(code, dtype) for code in kept]
    codes, counts = counted(np.array(kept))
    found = moments(codes, counts, dtype)
    if not values:
        assert all(math.isnan(value) for value in (*vars(found).values(), abs_max(codes, dtype)))
        assert math.isnan(abs_quantile(codes, counts, dtype, q))
        return
    exact, scale = [Fraction(value) for value in values], max(abs(value) for value in values)
    close: Any = {"rel": 1e-13, "abs": 1e-13 * scale}
    assert found.mean == pytest.approx(float(statistics.mean(exact)), **close)
    assert found.abs_mean == pytest.approx(float(statistics.mean(abs(value) for value in exact)), **close)
    assert found.rms == pytest.approx(math.sqrt(statistics.mean(value**2 for value in exact)), **close)
    assert found.std == pytest.approx(statistics.pstdev(exact), **close)
    assert abs_max(codes, dtype) == scale
    ordered = sorted(abs(value) for value in values)
    smallest = next(x for x in ordered if Fraction(sum(y <= x for y in ordered), len(ordered)) >= Fraction(q))
    assert abs_quantile(codes, counts, dtype, q) == smallest


@pytest.mark.parametrize(
    "count", [1, 2, 3, 4, 7, 8, 1000, 99_999, 100_000, 100_001, 1 << 40, (1 << 52) + 3, (1 << 52) + 7]
)
def test_ranks_are_exact_whole_numbers(count: int) -> None:
    """The rank is ceil(q x N) exactly; in float64 a large N would put it on the wrong side of a whole number."""
    for q in ("0.9", "0.999", "0.99999"):
        rank = -(-count * int(Fraction(q) * 100_000) // 100_000)
        codes, counts = np.array([0x3F80, 0x4000], np.uint16), np.array([rank, count - rank], np.int64)
        assert abs_quantile(codes, counts, "bfloat16", q) == 1.0
        codes, counts = codes, np.array([rank - 1, count - rank + 1], np.int64)
        assert abs_quantile(codes, counts, "bfloat16", q) == 2.0


def test_both_signs_of_zero_and_of_a_value_fold_together() -> None:
    codes, counts = fold_sign(np.array([0, 0x3F80, 0x8000, 0xBF80], np.uint16), np.array([1, 2, 3, 4], np.int64))
    assert (codes.tolist(), counts.tolist()) == ([0, 0x3F80], [4, 6])
    assert abs_quantiles(codes, counts, "bfloat16", ["0.4", "0.41"]) == [0.0, 1.0]


def test_sums_do_not_depend_on_order_and_lose_no_small_addend() -> None:
    codes = np.array([0x0001, 0x3F80, 0x7F00, 0xFF00], np.uint16)  # the two largest cancel
    counts = np.array([1 << 30, 1, 5, 5], np.int64)
    expected = moments(codes, counts, "bfloat16")
    assert expected.mean == (1 + (1 << 30) * 2.0**-133) / int(counts.sum())
    for order in permutations(range(4)):
        assert moments(codes[list(order)], counts[list(order)], "bfloat16") == expected
