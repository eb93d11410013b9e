"""The bits that a tensor needs equal those found by quantizing it with every width."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles.quantize import bits_needed as by_trying
from oracles.quantize import decibels
from quantize.measured import tables
from quantize.test_errors import KINDS, hostile

from maxact.quantize.stage import site_bits, sixteen_bits, splits_of
from maxact.quantize.widths import WIDTHS, fewest

TARGETS = [3.0, 20.0, 30.0, 40.0, 95.0]


def rows_of(calibration: torch.Tensor, evaluation: torch.Tensor) -> list[dict[str, Any]]:
    sites, histograms = tables({("residual", 4): {"calibration": [calibration], "evaluation": [evaluation]}})
    return site_bits(sixteen_bits(sites), splits_of(histograms), TARGETS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_equal_those_found_by_trying_every_width(kind: str, dtype: str) -> None:
    calibration, evaluation = hostile(kind, dtype)[:14, :14], hostile(kind, dtype)[14:28, :14]
    found = rows_of(calibration, evaluation)
    assert [(row["policy"], row["target_db"]) for row in found] == [(p, t) for p in ("max", "mse") for t in TARGETS]
    for row in found:
        bits, reached = by_trying([calibration], [evaluation], row["policy"], row["target_db"])
        assert row["bits"] == bits, (row, bits)
        told = row["sqnr_db"]
        assert math.isclose(told, reached, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(told) and math.isnan(reached)), (
            row
        )


def test_a_width_whose_wider_neighbour_misses_the_target_is_not_enough() -> None:
    """Thirds of the largest |x| are levels of 3 bits and not of 4."""
    x = torch.tensor([3.0] + [1.0] * 200).to(torch.bfloat16)
    assert decibels([x], [x], "max", "int3") == math.inf
    assert decibels([x], [x], "max", "int4") < 30
    assert next(row["bits"] for row in rows_of(x, x) if row["target_db"] == 30) > 4
    widths = dict(zip(WIDTHS, [0.0, 9.0, 5.0, 31.0, 29.0, 30.0, *[50.0] * 9], strict=True))
    assert fewest(widths, 30.0) == 7
    assert fewest(widths, 29.0) == 5
    assert fewest(widths, 50.0) == 8
    assert fewest(widths, 51.0) is None


@pytest.mark.parametrize("kind", ["zeros of both signs", "nothing finite"])
def test_what_has_no_sqnr_has_no_bits(kind: str) -> None:
    for calibration, evaluation in [(kind, "normal"), ("normal", kind), (kind, kind)]:
        for row in rows_of(hostile(calibration, "bfloat16"), hostile(evaluation, "bfloat16")):
            assert row["bits"] is None
            assert math.isnan(row["sqnr_db"])


def test_one_value_is_exact_with_two_bits() -> None:
    assert {row["bits"] for row in rows_of(hostile("one value", "bfloat16"), hostile("one value", "bfloat16"))} == {2}


def test_no_target_costs_nothing() -> None:
    sites, histograms = tables({("residual", 0): {"calibration": [hostile("normal", "bfloat16")]}})
    assert site_bits(sixteen_bits(sites), splits_of(histograms), []) == []
