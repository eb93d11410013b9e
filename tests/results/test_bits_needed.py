"""The table of bits is what the rows of the sites say, and says what 16 bits do not serve."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from results.members import nothing_finite, planted, real

from maxact.quantize.stage import BITS
from maxact.results.bits_needed import bits_needed
from maxact.results.member import Member


def with_bits(bits: list[int | None], sqnr: list[float] | None = None) -> Member:
    """A checkpoint with one residual site for each number, under one policy, for one target."""
    rows = [
        {"site": site, "component": "residual", "layer": site, "policy": "max", "target_db": 30.0, "bits": number}
        | {"sqnr_db": 31.0 if sqnr is None else sqnr[site]}
        for site, number in enumerate(bits)
    ]
    return replace(real(), bits=pd.DataFrame(rows, columns=BITS.names).astype({"bits": "Int8"}))


def residual(member: Member) -> dict[str, Any]:
    frame = bits_needed([member])
    return {str(name): value for name, value in frame[frame.tensors == "residual stream"].iloc[0].items()}


@pytest.mark.parametrize(
    ("bits", "median", "most", "worst"),
    [([7], 7, 7, 0), ([4, 9, 6, 9], 6, 9, 1), ([5, 5, 5, 12, 2], 5, 12, 3)],
)
def test_median_and_worst_are_those_of_the_sites(bits: list[int], median: int, most: int, worst: int) -> None:
    found = residual(with_bits(bits))
    assert (found["sites"], found["beyond_16"]) == (len(bits), 0)
    assert (found["median_bits"], found["most_bits"], found["worst_site"]) == (median, most, f"residual@{worst}")


def test_sites_that_sixteen_bits_do_not_serve_are_counted_and_the_worst_of_them_named() -> None:
    found = residual(with_bits([4, None, None, 6], [30.0, 12.0, 7.0, 30.0]))
    assert (found["median_bits"], found["beyond_16"], found["worst_site"]) == (6, 2, "residual@2")
    assert pd.isna(found["most_bits"])
    assert pd.isna(residual(with_bits([None, None, 6], [1.0, 2.0, 30.0]))["median_bits"])


def test_a_site_without_sqnr_counts_nowhere() -> None:
    found = residual(with_bits([None, 6], [math.nan, 33.0]))
    assert (found["sites"], found["median_bits"], found["beyond_16"]) == (1, 6, 0)
    assert residual(with_bits([None], [math.nan]))["note"] == "no finite value, or nothing but zeros"


def test_what_is_not_measured_is_said_and_without_targets_nothing_is() -> None:
    frame = bits_needed([planted(), real(), nothing_finite()])
    assert frame.kind.tolist() == sorted(frame.kind, reverse=True)
    assert set(frame[frame.tensors == "KV cache"].note) == {"not measured; add it to measure.components"}
    none = bits_needed([replace(real(), bits=pd.DataFrame(columns=BITS.names))])
    assert none.empty
    assert list(none.columns) == list(frame.columns)
