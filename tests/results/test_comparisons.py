"""Members of a group beside each other: numbers as loops find them, and words that follow from the numbers alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.comparisons import ratios, shape
from results.members import headline_of, moe, nothing_finite, planted, real, sites_of

from maxact.results.comparisons import comparisons, verdicts
from maxact.results.member import Member
from maxact.results.per_layer import per_layer_comparison, residual_by_depth
from maxact.results.verdicts import AGAINST_FIRST, NO_GROUP, ORDERED, times, verdict


def with_M(name: str, value: float | None, layers: int = 4) -> Member:
    """A real checkpoint whose M is in the residual stream of its second layer; None: nothing finite."""
    if value is None:
        return nothing_finite(name)
    sites = sites_of(layers, {("residual", 1): value})
    if value == 0:
        sites[["peak", "peak_signed"]] = 0.0
    return replace(
        real(name=name), sites=sites, headline=headline_of(sites), summary={**real().summary, "layers": layers}
    )


def words(question: str, *values: float | None) -> str:
    return verdict(question, [("abcdefgh"[at], value) for at, value in enumerate(values)])


def test_rows_follow_the_study_and_say_what_each_member_is() -> None:
    questions = {"scaling": {}, "moe_vs_dense": {"qwen": ["planted-qwen3-moe", "SmolLM2-135M-Instruct", "far"]}}
    frame = comparisons([real(), moe()], questions, {"far": "no network"})
    assert frame.question.tolist() == ["scaling"] + ["moe_vs_dense"] * 3
    assert frame.checkpoint.tolist()[1:] == questions["moe_vs_dense"]["qwen"]  # type: ignore[index]
    assert frame.kind.tolist()[1:] == ["planted", "real", "not available"]
    assert frame.weights.tolist()[1:] == ["planted", "dequantized from GGUF Q4_1", "no network"]
    assert frame.verdict[0] == NO_GROUP
    assert "(without far)" in frame.verdict[1]
    row = frame.iloc[2]
    assert (row.M, row.component, row.layer, row.relative_depth) == (26000.0, "residual", 11, 12 / 30)
    assert row.compared_with == "planted-qwen3-moe"
    assert row.ratio == 26000 / 10048
    assert row.log10_ratio == pytest.approx(math.log10(26000) - math.log10(10048))
    assert frame.signed[1] == -10048.0


def test_depth_is_zero_at_the_embedding_and_one_at_the_last_layer_and_final_norm() -> None:
    members = [
        planted("first", "embedding", None, value=-2048.0),
        planted("last", "residual", 3),
        planted("norm", "final_norm", None),
    ]
    frame = comparisons(members, {"scaling": {"g": ["first", "last", "norm"]}}, {})
    assert frame.relative_depth.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "compared_with", "found"),
    [
        ([2.0**7, 2.0**8, 2.0**6], "a", [1.0, 2.0, 0.5]),
        ([None, 128.0, 256.0], "b", [None, 1.0, 2.0]),
        ([0.0, 128.0, 256.0], "b", [0.0, 1.0, 2.0]),
        ([0.0, 0.0], None, [None, None]),
        ([None, None], None, [None, None]),
        ([None, 128.0], None, [None, None]),
    ],
)
def test_ratios_are_by_the_first_member_above_zero(
    values: list[float | None], compared_with: str | None, found: list[float | None]
) -> None:
    members = [with_M("abc"[at], value) for at, value in enumerate(values)]
    frame = comparisons(members, {"scaling": {"g": list("abc"[: len(values)])}}, {})
    assert [None if pd.isna(ratio) else ratio for ratio in frame.ratio] == found
    assert frame.log10_ratio.notna().tolist() == [bool(ratio) for ratio in found]
    assert set(frame.compared_with.dropna()) == ({compared_with} if compared_with else set())


def test_a_group_without_any_member_says_so_and_nothing_fails() -> None:
    questions = {"generations": {"gone": ["x", "y"], "half": ["x", "SmolLM2-135M-Instruct"]}}
    absent = {"x": "no network", "y": "licence"}
    frame = comparisons([real()], questions, absent)
    assert frame.M.notna().tolist() == [False, False, False, True]
    assert frame.verdict[0] == "cannot be compared: 0 of 2 members with a finite M (without x, y)"
    assert frame.verdict[2] == "cannot be compared: 1 of 2 members with a finite M (without x)"
    assert residual_by_depth([real()], questions).checkpoint.nunique() == 1
    notes = per_layer_comparison([real()], questions).note
    assert notes.str.startswith("cannot be compared").all()
    assert len(notes) == 2
    for made in (comparisons([], {}, {}), verdicts([], {}, {}), per_layer_comparison([], {})):
        assert made.empty
        assert "question" in made


def test_the_verdicts_have_one_row_a_group_and_are_planted_where_a_member_is() -> None:
    questions = {"scaling": {}, "generations": {"a": ["SmolLM2-135M-Instruct", "planted-qwen3-moe"], "b": ["x", "y"]}}
    frame = verdicts([real(), moe()], questions, {"x": "no", "y": "no"})
    assert frame.kind.fillna("").tolist() == ["", "planted", ""]
    assert frame.members.tolist() == [0, 2, 2]
    assert frame.with_M.tolist() == [0, 2, 0]
    assert frame.verdict[0] == NO_GROUP


@pytest.mark.parametrize(
    ("question", "values", "said"),
    [
        ("scaling", (100.0, 200.0, 1230.0), "M rises at each step; M of c is 12.3 x that of a"),
        ("scaling", (1230.0, 200.0, 100.0), "M falls at each step; M of c is 0.0813 x that of a"),
        (
            "scaling",
            (100.0, 400.0, 200.0),
            "not monotone: M rises at 1 and falls at 1 of 2 steps; M of c is 2 x that of a",
        ),
        ("scaling", (100.0, 100.0, 200.0), "M never falls, and rises at 1 of 2 steps; M of c is 2 x that of a"),
        ("scaling", (200.0, 100.0, 100.0), "M never rises, and falls at 1 of 2 steps; M of c is 0.5 x that of a"),
        ("generations", (7.0, 7.0), "M is the same in all"),
        ("training_stages", (0.0, 8.0), "M rises at each step; M of b is 8, that of a 0"),
        ("training_stages", (8.0, 0.0), "M falls at each step; M of b is 0 x that of a"),
        ("training_stages", (8.0, None, 16.0), "M rises at each step; M of c is 2 x that of a (without b)"),
        ("moe_vs_dense", (None, 8.0, 16.0), "cannot be compared: no finite M of a, with which the others are compared"),
        ("moe_vs_dense", (100.0, 4.0), "M of b is 0.04 x that of a"),
        ("moe_vs_dense", (100.0, 100.0), "M of b is that of a"),
        ("base_vs_instruct", (100.0, 100.4, 5.0), "M of b is 1.004 x that of a; M of c is 0.05 x that of a"),
        ("matched_sizes", (50.0, 700000.0, 60.0), "largest in b, smallest in a; M of b is 14,000 x that of a"),
        ("matched_sizes", (5.0, 5.0), "M is the same in all"),
        ("matched_sizes", (5.0, math.nan), "cannot be compared: 1 of 2 members with a finite M (without b)"),
    ],
)
def test_a_verdict_follows_from_the_numbers(question: str, values: tuple[float | None, ...], said: str) -> None:
    assert words(question, *values) == said


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 448.0, 65504.0]), min_size=2, max_size=8))
def test_the_shape_of_any_group_is_that_of_a_plain_loop(values: list[float]) -> None:
    said = words("scaling", *values)
    wanted = {"rises": ("M rises at each", "M never falls"), "falls": ("M falls at each", "M never rises")}
    wanted |= {"same": ("M is the same",), "neither": ("not monotone",)}
    assert said.startswith(wanted[shape(values)])
    if values[0] != values[-1]:
        assert words("scaling", *values[::-1]) != said


@pytest.mark.parametrize("question", [*ORDERED, *AGAINST_FIRST, "matched_sizes"])
def test_other_numbers_give_another_verdict(question: str) -> None:
    members = {name: [with_M("a", 300.0), with_M("b", value)] for name, value in (("up", 900.0), ("down", 100.0))}
    said = {name: verdicts(found, {question: {"g": ["a", "b"]}}, {}).verdict[0] for name, found in members.items()}
    assert said["up"] != said["down"]


def test_a_ratio_that_is_not_one_is_never_written_as_one() -> None:
    assert times(1 + 2**-8) == "1.004 x"
    assert times(12345.6) == "12,346 x"


@given(st.data())
@settings(max_examples=50)
def test_layers_of_nearest_depth_are_compared(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=2, max_size=2))
    values = [data.draw(st.lists(st.sampled_from([0.0, 1.0, 3.0, 1e4]), min_size=n, max_size=n)) for n in sizes]
    members = []
    for name, peaks in zip("ab", values, strict=True):
        sites = sites_of(len(peaks), {("residual", layer): peak for layer, peak in enumerate(peaks)})
        members.append(replace(with_M(name, 1.0, len(peaks)), sites=sites))
    questions = {"scaling": {"g": ["a", "b"]}}
    frame = residual_by_depth(members, questions)
    part = frame[frame.checkpoint == "b"]
    wanted = ratios(values[1], values[0])
    assert part.layer_of_other.tolist() == [there for there, _ in wanted]
    assert [None if pd.isna(ratio) else ratio for ratio in part.ratio] == [ratio for _, ratio in wanted]
    row = per_layer_comparison(members, questions).iloc[0]
    known = [(layer, ratio) for layer, (_, ratio) in enumerate(wanted) if ratio is not None]
    if known:
        most = max(ratio for _, ratio in known)
        assert row.largest_ratio == most
        assert row.largest_at_layer == next(layer for layer, ratio in known if ratio == most)
        assert row.smallest_ratio == min(ratio for _, ratio in known)
    else:
        assert pd.isna(row.largest_ratio)
