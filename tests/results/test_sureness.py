"""How sure a maximum is, against every draw listed and against fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import sureness as oracle

from maxact.results.sureness import (
    expected_maximum,
    further_within,
    maximum_without,
    new_maximum_bound,
    resampled_maximum,
    stratified_expected_maximum,
)

VALUES = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 1e6, 5e-324]), st.floats(0, 1e6, width=32))
STRATA = st.dictionaries(st.sampled_from("abc"), st.lists(VALUES, min_size=1, max_size=3), min_size=1)


def arrays(strata: dict[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in strata.items()}


@given(st.lists(VALUES, min_size=1, max_size=7))
def test_the_expected_maximum_is_that_of_all_draws(values: list[float]) -> None:
    found = expected_maximum(np.array(values))
    assert len(found) == len(values)
    for n, mean in enumerate(found, 1):
        assert oracle.expected_maximum(values, n) == oracle.listed_expected_maximum(values, n)
        assert mean == pytest.approx(float(oracle.listed_expected_maximum(values, n)), rel=1e-13, abs=1e-300)


def test_the_expected_maximum_of_many_values_is_that_in_fractions() -> None:
    values = np.random.default_rng(7).lognormal(0, 4, 1500).astype(np.float32).astype(np.float64)
    values[17] = 7e5
    found = expected_maximum(values)
    for n in (1, 2, 40, 750, 1499, 1500):
        assert found[n - 1] == pytest.approx(float(oracle.expected_maximum(values.tolist(), n)), rel=1e-12)
    one = stratified_expected_maximum({"all": values})
    np.testing.assert_allclose(one, found, rtol=1e-12)


def test_the_paper_has_five_thousand_samples_and_all_stay_finite() -> None:
    found = expected_maximum(np.arange(5000.0))
    assert (np.isfinite(found) & (np.diff(found, prepend=0) > 0)).all()
    assert found[-1] == 4999.0


@given(STRATA)
@settings(max_examples=60)
def test_the_stratified_expected_maximum_is_that_of_all_stratified_draws(strata: dict[str, list[float]]) -> None:
    found = stratified_expected_maximum(arrays(strata))
    assert len(found) == sum(map(len, strata.values()))
    for n, mean in enumerate(found, 1):
        assert mean == pytest.approx(float(oracle.stratified_expected_maximum(strata, n)), rel=1e-12, abs=1e-300)


@given(STRATA.filter(lambda strata: math.prod(len(values) ** len(values) for values in strata.values()) < 3000))
@settings(max_examples=60)
def test_the_resampled_maximum_has_the_distribution_over_all_resamples(strata: dict[str, list[float]]) -> None:
    found, listed = resampled_maximum(arrays(strata)), np.array(oracle.resampled(strata))
    assert found.mean == pytest.approx(listed.mean(), rel=1e-9)
    assert found.std == pytest.approx(listed.std(), rel=1e-6, abs=1e-9 * listed.max())
    assert found.same == pytest.approx((listed == listed.max()).mean(), abs=1e-12)
    for quantile, value in ((0.05, found.low), (0.95, found.high)):
        assert (listed <= value).mean() >= quantile - 1e-12
        assert (listed < value).mean() < quantile + 1e-12


def test_a_new_maximum_is_as_probable_as_the_share_of_new_samples_allows() -> None:
    assert new_maximum_bound(5000, 5000) == 0.5
    assert new_maximum_bound(240, 0) == 0.0
    for samples in (1, 19, 20, 95, 240, 5000):
        further = further_within(samples, 0.05)
        assert new_maximum_bound(samples, further) <= 0.05 < new_maximum_bound(samples, further + 1)


def test_the_maximum_without_a_domain_is_that_of_the_others() -> None:
    strata = arrays({"math": [3.0, 9.0], "code": [8.0], "web": [9.0, 1.0]})
    assert maximum_without(strata) == {"math": 9.0, "code": 9.0, "web": 9.0}
    assert maximum_without(arrays({"math": [3.0, 9.0], "code": [8.0]})) == {"math": 8.0, "code": 9.0}
    assert maximum_without(arrays({"math": [3.0]})) == {"math": None}
