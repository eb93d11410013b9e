"""Emergence, top and median, massive-activation test, components and INT-8 beside M, against plain loops and by hand."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.comparisons import half, jump
from results.members import POLICIES, moe, nothing_finite, planted, real

from maxact.results.components import component_maxima, components
from maxact.results.emergence import emergence
from maxact.results.int8_vs_m import int8_vs_M
from maxact.results.massive import massive_coverage
from maxact.results.member import Member
from maxact.results.per_layer import top_and_median, top_and_median_by_layer
from maxact.sites.components import COMPONENTS

ALL = [emergence, top_and_median, massive_coverage, components, component_maxima, int8_vs_M]


def with_stream(embedding: float | None, peaks: list[float | None]) -> Member:
    """A checkpoint whose residual stream has these largest |x|; None: nothing finite there."""
    member = real(layers=len(peaks))
    sites = member.sites.copy()
    sites.loc[sites.component == "embedding", "peak"] = float("nan") if embedding is None else embedding
    sites.loc[sites.component == "residual", "peak"] = [float("nan") if peak is None else peak for peak in peaks]
    return replace(member, sites=sites)


@pytest.mark.parametrize("table", ALL)
def test_each_checkpoint_has_rows_that_say_its_kind_real_ones_first(table: object) -> None:
    assert callable(table)
    frame = table([planted(), real(), moe(), nothing_finite()])
    assert frame.checkpoint.unique().tolist() == [
        "SmolLM2-135M-Instruct", "broken", "planted-qwen2-dense", "planted-qwen3-moe",
    ]  # fmt: skip
    assert frame.drop_duplicates("checkpoint").kind.tolist() == ["real", "real", "planted", "planted"]
    assert frame.drop_duplicates("checkpoint").nonfinite.tolist() == [0, 12345, 0, 0]
    assert frame.weights.iloc[0] == "dequantized from GGUF Q4_1"


@given(st.lists(st.sampled_from([None, 0.0, 1.0, 2.0, 5.0, 1e4]), min_size=2, max_size=8))
def test_emergence_is_what_a_plain_loop_finds(stream: list[float | None]) -> None:
    row = emergence([with_stream(stream[0], stream[1:])]).iloc[0]
    wanted = jump(stream)
    assert (None if pd.isna(row.jump) else (row.jump, row.jump_layer)) == wanted
    assert (None if pd.isna(row.half_layer) else row.half_layer) == half(stream[1:])
    if wanted:
        assert row.jump_depth == (wanted[1] + 1) / (len(stream) - 1)


def test_a_model_of_one_layer_emerges_in_it() -> None:
    row = emergence([with_stream(2.0, [6.0])]).iloc[0]
    assert (row.jump, row.jump_layer, row.jump_depth, row.half_layer) == (3.0, 0, 1.0, 0)


def test_top_and_median_is_at_the_layer_of_the_largest_value() -> None:
    frame = top_and_median([real(), nothing_finite()])
    row = frame.iloc[0]
    assert (row.layer, row.top1, row.top2, row.top3, row["median"]) == (11, 26000.0, 13000.0, 6500.0, 0.25)
    assert row.top1_over_median == 104000.0
    assert frame.top1.isna().tolist() == [False, True]


def test_top_takes_magnitudes_and_a_median_of_zero_has_no_ratio() -> None:
    member = planted(value=-12288.0)
    member.sites.loc[member.sites.component == "residual", "abs_median"] = 0.0
    row = top_and_median([member]).iloc[0]
    assert row.top1 == 12288.0
    assert pd.isna(row.top1_over_median)
    assert len(top_and_median_by_layer([member])) == 4


def test_the_massive_test_is_counted_at_the_residual_peak_and_where_most_pass() -> None:
    member = moe()
    sites = member.sites
    chosen = (sites.component == "mlp_output") & sites.layer.eq(1).fillna(False)
    sites.loc[chosen.astype(bool), ["massive_tokens", "massive_tokens_passed", "massive_max_ratio"]] = [50, 5, 4e4]
    gates = sites.component == "gate"  # M does not range over them
    sites.loc[gates, ["massive_tokens", "massive_tokens_passed", "massive_max_ratio"]] = [50, 50, 9e9]
    row = massive_coverage([member]).iloc[0]
    assert (row.any_site, row.any_tokens, row.any_passed, row.any_share) == ("mlp_output@1", 50, 5, 0.1)
    assert (row.residual_site, row.residual_passed, row.residual_share) == ("residual@3", 0, 0.0)
    assert (row.M, row.largest_ratio) == (10048.0, 4e4)


def test_a_checkpoint_without_finite_tokens_has_no_share() -> None:
    row = massive_coverage([nothing_finite()]).iloc[0]
    assert pd.isna([row.M, row.residual_share, row.any_share, row.largest_ratio]).all()


def test_components_are_told_apart_from_what_is_not_there() -> None:
    member = moe()
    sites = member.sites[member.sites.component != "final_norm"].copy()
    gates = sites.component == "gate"
    sites.loc[gates, "status"] = "not applicable"
    sites.loc[gates, ["peak", "peak_signed"]] = float("nan")
    frame = component_maxima([replace(member, sites=sites), nothing_finite()])
    status = frame.set_index(["checkpoint", "component"]).status
    assert status["planted-qwen3-moe", "gate"] == "not applicable"
    assert status["planted-qwen3-moe", "final_norm"] == "not measured"
    assert status["planted-qwen3-moe", "router_logits"] == "measured"
    assert status["broken", "residual"] == "no finite value"
    matrix = components([replace(member, sites=sites)])
    asked = [name for name in COMPONENTS if (sites.component == name).any()]
    assert [name for name in matrix if name in COMPONENTS] == asked
    for component in asked:
        largest = max((x for x in sites.peak[sites.component == component] if x == x), default=None)
        assert (None if pd.isna(matrix[component][0]) else matrix[component][0]) == largest


def test_the_error_beside_M_is_at_the_residual_peak() -> None:
    member = real()
    frame = int8_vs_M([member, nothing_finite()])
    assert frame.policy.tolist() == list(POLICIES) * 2
    assert frame.site.tolist()[:2] == ["residual@11"] * 2
    assert frame.relative_rmse.notna().tolist() == [True, True, False, False]
    for row in frame.head(2).to_dict("records"):
        for error in member.errors.to_dict("records"):
            if (error["component"], error["layer"], error["policy"]) == ("residual", 11, row["policy"]):
                assert row["relative_rmse"] == error["relative_rmse"]
