"""Headroom of each kind of tensor follows from the peaks, and an infinite activation has none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from results.members import nothing_finite, planted, real

from maxact.results.headroom import headroom
from maxact.results.member import Member


def of_M(member: Member) -> dict[str, Any]:
    frame = headroom([member])
    return {str(name): value for name, value in frame[frame.tensors == "components of M"].iloc[0].items()}


def test_the_largest_is_by_each_limit_and_sites_above_it_are_counted() -> None:
    found = of_M(planted(value=-60000.0))
    assert (found["largest"], found["site"]) == (60000.0, "residual@2")
    assert found["share_of_float16"] == pytest.approx(60000 / 65504)
    assert (found["over_float16"], found["over_e5m2"], found["over_e4m3"]) == (0, 1, 1)
    assert pd.isna(found["first_over_float16"])
    assert found["first_over_e5m2"] == "residual@2"


def test_the_limit_itself_fits_and_what_is_next_does_not() -> None:
    assert of_M(planted(value=448.0))["over_e4m3"] == 0
    assert of_M(planted(value=450.0))["over_e4m3"] == 1


def test_of_several_sites_above_a_limit_the_first_is_named() -> None:
    found = of_M(real())
    rows = real().sites
    above = rows[rows.component.isin(["residual", "mlp_output", "attention_output"]) & (rows.peak > 448)]
    assert found["over_e4m3"] == len(above) > 10
    assert found["first_over_e4m3"] == "mlp_output@10"


def test_an_infinite_activation_is_over_every_limit() -> None:
    member = planted(value=100.0)
    sites = member.sites.assign(positive_infinity=0, negative_infinity=0)
    sites.loc[sites.component == "final_norm", "negative_infinity"] = 3
    found = of_M(replace(member, sites=sites))
    assert (found["over_float16"], found["first_over_float16"], found["largest"]) == (1, "final_norm", 100.0)


def test_without_finite_values_or_sites_it_says_so() -> None:
    found = of_M(nothing_finite())
    assert found["note"] == "no finite value"
    assert math.isnan(found["largest"])
    frame = headroom([real()])
    assert frame[frame.tensors == "KV cache"].note.tolist() == ["not measured; add it to measure.components"]
