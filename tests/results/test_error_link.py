"""Does the error follow M: against plain loops, and that the words follow the data."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import error_link as oracle
from results.members import nothing_finite, planted, real

from maxact.results.correlation import family_test, holm, partial, pearson, spearman
from maxact.results.error_link import error_link
from maxact.results.member import Member

KEY = ("int8", "tensor", "max")


def checkpoint(
    name: str,
    family: str,
    M: float | None,
    error: float,
    rmse: float = 1.0,
    scale: float = 1.0,
    is_planted: bool = False,
    keys: Sequence[tuple[str, str, str]] = (KEY,),
) -> Member:
    """One with two residual sites; the error is at the second, which is larger."""
    sites = pd.DataFrame({"site": [4, 9], "component": "residual", "layer": [1, 2], "peak": [1.0, 2.0]})
    rows: list[dict[str, Any]] = []
    for values in keys:
        named = dict(zip(("format", "granularity", "policy"), values, strict=True))
        rows.append({"site": 4, **named, "relative_rmse": 0.5, "rmse": 0.5, "scale": 0.5})
        rows.append({"site": 9, **named, "relative_rmse": error, "rmse": rmse, "scale": scale})
    headline = {"M": None if M is None else {"value": M}, "nonfinite": 0}
    none = pd.DataFrame()
    return Member(
        name,
        family,
        {"planted": is_planted, "ancestry": "as released"},
        headline,
        sites,
        none,
        pd.DataFrame(rows),
        none,
        none,
        None,
        {},
        *[none] * 4,
    )


def study(count: int, families: int, slope: float = 1.0, noise: float = 0.0, seed: int = 1) -> list[Member]:
    """Checkpoints in turn of each family, from small M to large; the relative RMSE goes with M to the power `slope`."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        M = 10 ** (1 + number % families + rng.uniform(0, 0.3))
        error, step, rmse = (M**slope * 10 ** rng.gauss(-5, noise), M / 127 * rng.uniform(0.5, 1), rng.uniform(1, 9))
        found.append(checkpoint(f"c{number}", f"f{number % families}", M, error, rmse, step))
    return found


def row(members: Sequence[Member]) -> dict[str, Any]:
    (found,) = error_link(members).to_dict("records")
    return dict(found)


def same(found: float, expected: float | None) -> bool:
    return math.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-9)


VALUES = st.one_of(st.integers(-2, 2).map(float), st.floats(-6, 6, width=32))
POINTS = st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=12)


@given(POINTS)
@settings(max_examples=200)
def test_correlations_are_those_of_plain_loops(points: list[tuple[float, float, float]]) -> None:
    x, y, z = ([point[axis] for point in points] for axis in range(3))
    arrays = [np.array(values, np.float64) for values in (x, y, z)]
    assert same(pearson(*arrays[:2]), oracle.pearson(x, y))
    assert same(spearman(*arrays[:2]), oracle.spearman(x, y))


@pytest.mark.parametrize("seed", range(20))
def test_the_partial_correlation_is_that_of_what_lines_leave(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=4 + seed)
    x, y = z + rng.normal(size=len(z)), 3 * z * (seed % 2) + rng.normal(size=len(z))
    assert partial(x, y, z) == pytest.approx(oracle.partial(x.tolist(), y.tolist(), z.tolist()), abs=1e-9)
    assert math.isnan(partial(x[:3], y[:3], z[:3]))
    assert math.isnan(partial(x, y, 2 * x - 1))  # nothing of x is left
    assert math.isnan(partial(x, 5 - y, y))
    assert math.isnan(partial(x, y, np.ones(len(z))))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=4, max_size=6))
@settings(max_examples=60)
def test_p_is_the_share_of_all_permutations(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, np.float64).T
    test = family_test(x, y)
    if oracle.spearman(x.tolist(), y.tolist()) is None:
        assert test.p is None
    else:
        assert float(test.p) == oracle.permutation_p(x.tolist(), y.tolist())
        assert float(test.least or 0) == min(
            oracle.permutation_p(np.sort(x).tolist(), np.sort(y)[::step].tolist()) for step in (1, -1)
        )


def test_drawn_permutations_give_about_the_share_of_all() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=9)
    y = x + 1.5 * rng.normal(size=9)
    test = family_test(x, y)
    assert test.permutations == "99,999 drawn"
    p = oracle.permutation_p(x.tolist(), y.tolist())
    assert test.p is not None
    assert 0.02 < p < 0.5
    assert float(test.p) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 99_999))
    assert (test.p * 100_000).denominator == 1
    assert family_test(x[:8], y[:8]).permutations == "all 40,320"
    assert 1e-5 <= float(family_test(x, x).p or 0) < 1e-4  # never 0: the data are one of the permutations


@pytest.mark.parametrize("seed", range(4))
def test_a_row_is_that_of_plain_loops(seed: int) -> None:
    members = study(17, 6, 0.5, 1.0, seed)
    found, errors = row(members), [member.errors.iloc[1] for member in members]
    M = [oracle.log(member.headline["M"]["value"]) or 0.0 for member in members]
    logs = {name: [oracle.log(error[name]) or 0.0 for error in errors] for name in ("relative_rmse", "rmse", "scale")}
    families = [member.family for member in members]
    assert (found["checkpoints"], found["left_out"], found["families"], found["with_step"]) == (17, 0, 6, 17)
    error, rmse, step = logs.values()
    means = oracle.family_means(families, M), oracle.family_means(families, error)
    expected = {
        "spearman": oracle.spearman(M, error),
        "pearson": oracle.pearson(M, error),
        "family_spearman": oracle.spearman(*means),
        "p": oracle.permutation_p(*means),
        "step_and_M": oracle.pearson(step, M),
        "step_and_rmse": oracle.pearson(step, rmse),
        "M_and_rmse": oracle.pearson(M, rmse),
        "M_and_rmse_given_step": oracle.partial(M, rmse, step),
    }
    for name, value in expected.items():
        assert same(found[name], value), name


@pytest.mark.parametrize("families", [6, 9])
def test_the_verdict_follows_the_data(families: int) -> None:
    assert row(study(18, families, 1.0))["verdict"] == "rises with M"
    assert row(study(18, families, -1.0))["verdict"] == "falls with M"
    assert row(study(18, families, 0.0, 1.0, seed=2))["verdict"] == "no link seen"


@given(st.lists(st.integers(1, 24), max_size=7))
@settings(max_examples=150)
def test_holms_p_is_the_largest_of_all_sets_of_tests_that_a_test_is_in(counts: list[int]) -> None:
    """Of 24 permutations; ties and p = 1 among them."""
    p = [Fraction(count, 24) for count in counts]
    assert holm(p) == oracle.closed_p(p)


def beside(members: Sequence[Member], more: Sequence[Member], *keys: tuple[str, str, str]) -> list[Member]:
    """The members with the errors of others of the same names under further keys."""
    return [
        replace(member, errors=pd.concat([member.errors, *(with_key(other.errors, key) for key in keys)]))
        for member, other in zip(members, more, strict=True)
    ]


def with_key(errors: pd.DataFrame, key: tuple[str, str, str]) -> pd.DataFrame:
    return errors.assign(**dict(zip(("format", "granularity", "policy"), key, strict=True)))


def test_further_tests_can_turn_it() -> None:
    """Eight families, p about 0.015: enough beside two tests of nothing, too much beside three."""
    members, others = study(8, 8, 0.3, 0.8, seed=11), study(8, 8, 0.0, 1.0, seed=2)
    keys = [("int8", "tensor", f"quantile_0.{number}") for number in range(1, 4)]
    p = row(members)["p"]
    for number, expected in ((0, "rises with M"), (2, "rises with M"), (3, "no link seen")):
        found = error_link(beside(members, others, *keys[:number])).to_dict("records")
        (mine,) = [entry for entry in found if entry["policy"] == "max"]
        assert (mine["p"], mine["tests"], mine["verdict"]) == (p, number + 1, expected)
        assert mine["p_holm"] == pytest.approx((number + 1) * p)


def test_what_no_order_of_so_few_families_could_show_beside_other_tests_is_not_told() -> None:
    members = beside(study(10, 5), study(10, 5, 0.0, 1.0, seed=2), *[("int4", "tensor", f"{n}") for n in range(4)])
    found = error_link(members)
    assert found.verdict[found["format"] == "int8"].tolist() == [
        "cannot be told: with these 5 families p holm is 0.083 or more"
    ]


def test_rows_that_say_nothing_are_no_tests() -> None:
    """Of too few checkpoints, or of one error in all."""
    few = study(8, 8)
    keys = [("int4", "tensor", "max"), ("int6", "tensor", "max")]
    members = beside(few, [replace(member, errors=member.errors.assign(relative_rmse=0.3)) for member in few], keys[0])
    members = [*beside(members[:7], few[:7], keys[1]), members[7]]
    found = error_link(members)
    assert found.tests.tolist() == [1, 1, 1]
    assert found.p_holm.isna().tolist() == [True, True, False]


def test_one_checkpoint_can_turn_it() -> None:
    members = study(8, 8)
    assert row(members)["verdict"] == "rises with M"
    largest = max(members, key=lambda member: member.headline["M"]["value"])
    changed = replace(largest, errors=largest.errors.assign(relative_rmse=1e-9))
    assert row([changed if member is largest else member for member in members])["verdict"] == "no link seen"


def test_it_is_not_told_of_too_few() -> None:
    assert row(study(2, 2))["verdict"] == "cannot be told: 2 of 8 checkpoints"
    assert row(study(7, 7))["verdict"] == "cannot be told: 7 of 8 checkpoints"
    assert row(study(8, 8))["verdict"] == "rises with M"
    assert row(study(12, 3))["verdict"] == "cannot be told: 3 of 4 families"
    assert row(study(12, 4))["verdict"] == "cannot be told: with these 4 families p holm is 0.083 or more"
    assert row(study(12, 5))["verdict"] == "rises with M"


def test_ties_can_leave_nothing_to_be_seen() -> None:
    """Five families, but four of one error: no order of them is rarer than one in five."""
    members = [
        replace(member, errors=member.errors.assign(relative_rmse=0.5 if member.family == "f4" else 0.1))
        for member in study(10, 5)
    ]
    found = row(members)
    assert found["p"] == 0.4
    assert found["verdict"] == "cannot be told: with these 5 families p holm is 0.4 or more"


def test_one_family_has_correlations_but_no_p() -> None:
    members = [replace(member, family="one") for member in study(10, 10)]
    found = row(members)
    assert found["spearman"] == 1.0
    assert all(math.isnan(found[name]) for name in ("family_spearman", "p"))
    assert (found["families"], found["verdict"]) == (1, "cannot be told: 1 of 4 families")


@pytest.mark.parametrize("same_in_all", ["M", "error"])
def test_constant_values_have_no_correlation(same_in_all: str) -> None:
    """Families of one, two and three: a mean of equal values must not differ in the last bit."""
    members = []
    for number, family in enumerate("abbcccddeee"):
        value = 0.1 + number
        M, error = (0.3, value) if same_in_all == "M" else (value, 0.3)
        members.append(checkpoint(f"c{number}", family, M, error))
    found = row(members)
    assert all(math.isnan(found[name]) for name in ("spearman", "pearson", "family_spearman", "p"))
    assert math.isnan(found["M_and_rmse_given_step"])
    assert found["verdict"] == "cannot be told: M or the error is the same in all families"


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_an_error_that_is_not_finite_and_above_zero_is_left_out(value: float) -> None:
    members = study(9, 9)
    broken = checkpoint("broken", "f0", 10.0, value)
    found = row([*members, broken])
    assert (found["checkpoints"], found["left_out"], found["verdict"]) == (9, 1, "rises with M")
    assert {**found, "left_out": 0} == pytest.approx(row(members), nan_ok=True)


@pytest.mark.parametrize("M", [None, math.nan, math.inf, 0.0])
def test_an_M_that_is_not_finite_and_above_zero_is_left_out(M: float | None) -> None:
    found = row([*study(7, 7), checkpoint("broken", "f0", M, 0.1)])
    assert (found["left_out"], found["verdict"]) == (1, "cannot be told: 7 of 8 checkpoints")


def test_a_checkpoint_without_a_step_is_in_all_but_what_is_about_steps() -> None:
    members = study(9, 9)
    found = row([*members[:-1], replace(members[-1], errors=members[-1].errors.assign(scale=math.nan))])
    assert (found["checkpoints"], found["with_step"]) == (9, 8)
    assert found["M_and_rmse"] == row(members[:-1])["M_and_rmse"]
    assert found["pearson"] == row(members)["pearson"]


def test_where_the_error_is_of_the_step_alone_the_partial_correlation_says_so() -> None:
    rng = random.Random(5)
    members = []
    for number in range(400):
        M = 10 ** rng.uniform(1, 5)
        step = M / 127 * 10 ** rng.gauss(0, 0.5)
        rmse = step / math.sqrt(12) * 10 ** rng.gauss(0, 0.1)
        members.append(checkpoint(f"c{number}", f"f{number % 8}", M, 0.1, rmse, step))
    found = row(members)
    assert min(found["step_and_M"], found["step_and_rmse"], found["M_and_rmse"]) > 0.8
    assert abs(found["M_and_rmse_given_step"]) < 0.15
    exact = [
        replace(item, errors=item.errors.assign(scale=item.headline["M"]["value"] / 127)) for item in members
    ]  # the largest |x| as threshold: M and step are one
    assert math.isnan(row(exact)["M_and_rmse_given_step"])


def test_planted_checkpoints_do_not_count() -> None:
    members = study(7, 7)
    more = [checkpoint(f"p{number}", f"p{number}", 10.0**number, 0.1, is_planted=True) for number in range(9)]
    assert row([*more, *members]) == pytest.approx(row(members), nan_ok=True)
    alone = row(more)
    assert (alone["checkpoints"], alone["left_out"]) == (0, 0)
    assert alone["verdict"] == "cannot be told: 0 of 8 checkpoints"


def test_copies_of_checkpoints_in_their_family_change_no_p() -> None:
    """They are no further evidence."""
    members = study(10, 5, 0.3, 1.0)
    copies = [replace(member, name=f"{member.name}-{copy}") for copy in range(4) for member in members]
    found, once = row(copies), row(members)
    assert found["checkpoints"] == 40
    assert (found["p"], found["family_spearman"]) == (once["p"], once["family_spearman"])


@pytest.mark.parametrize("families", [5, 9])
def test_neither_the_order_of_members_nor_the_names_of_families_decide(families: int) -> None:
    members = study(20, families, 0.3, 1.0)
    first = error_link(members)
    for seed in range(3):
        shuffled = random.Random(seed).sample(members, len(members))
        pd.testing.assert_frame_equal(error_link(shuffled), first, check_exact=True)
    names = {f"f{number}": f"{(number * 7) % 11:02d}" for number in range(families)}
    renamed = [replace(member, family=names[member.family]) for member in members]
    pd.testing.assert_frame_equal(error_link(renamed), first, check_exact=True)


def test_each_format_granularity_and_policy_has_its_row() -> None:
    keys = [("int8", "token", "max"), ("int4", "tensor", "max"), ("int8", "tensor", "quantile_0.999"), KEY]
    frame = error_link([checkpoint("c", "f", 1.0, 0.1, keys=keys)])
    assert list(zip(frame["format"], frame.granularity, frame.policy, strict=True)) == sorted(keys)
    with pytest.raises(ValueError, match="two errors"):
        error_link([checkpoint("c", "f", 1.0, 0.1, keys=[KEY, KEY])])


def test_errors_that_name_no_granularity_are_of_whole_tensors() -> None:
    members = study(9, 9)
    old = [replace(member, errors=member.errors.drop(columns="granularity")) for member in members]
    unnamed = [replace(member, errors=member.errors.assign(granularity=math.nan)) for member in members]
    pd.testing.assert_frame_equal(error_link([*old[:3], *unnamed[3:6], *members[6:]]), error_link(members))


def test_members_of_a_study_and_none_at_all() -> None:
    frame = error_link([planted(), real(), nothing_finite()])
    assert frame.verdict.tolist() == ["cannot be told: 1 of 8 checkpoints"] * len(frame)
    assert (frame.left_out == 1).all()
    finer = real().evaluated[["format", "granularity"]].drop_duplicates()
    assert len(frame) == len(real().errors.policy.unique()) + len(finer)
    assert error_link([]).columns.tolist() == frame.columns.tolist()
    assert (error_link([]).dtypes == frame.dtypes).all()
