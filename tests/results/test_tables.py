"""What the tables say, and that planted, dequantized and non-finite checkpoints are told apart in each."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from results.members import POLICIES, headline_of, moe, nothing_finite, planted, real

from maxact.results import tables
from maxact.results.member import PEAK_SITE, WORST_SITE, Member, short_ancestry

ALL = [tables.checkpoints, tables.global_maxima, tables.int8, tables.instrument_check, tables.layers]


@pytest.mark.parametrize("table", ALL)
def test_real_checkpoints_come_first_and_each_row_says_its_kind(table: object) -> None:
    assert callable(table)
    frame = table([planted(), real(), moe(), nothing_finite()])
    kinds = frame["kind"].tolist()
    assert kinds == sorted(kinds, key=lambda kind: kind == "planted")
    assert set(kinds) == ({"planted"} if table is tables.instrument_check else {"real", "planted"})
    marked = frame.drop_duplicates("checkpoint").set_index("checkpoint")["nonfinite"]
    assert marked.to_dict() == {name: 12345 * (name == "broken") for name in marked.index}


@pytest.mark.parametrize("table", [tables.global_maxima, tables.int8, tables.layers])
def test_the_ancestry_stands_beside_the_numbers(table: object) -> None:
    assert callable(table)
    weights = table([real(), planted()]).groupby("checkpoint")["weights"].first()
    assert weights["SmolLM2-135M-Instruct"].startswith("dequantized from GGUF Q4_1")
    assert weights["planted-qwen2-dense"] == "planted"


def test_a_maximum_has_its_place_token_and_headroom() -> None:
    row = tables.global_maxima([real()]).iloc[0].to_dict()
    wanted = {"M": 26000.0, "signed": 26000.0, "component": "residual", "layer": 11, "channel": 507, "sample": 3}
    wanted |= {"position": 0, "token_id": 1, "token": "<|im_start|>", "M_with_gate": 26000.0, "ties": ""}
    assert {key: row[key] for key in wanted} == wanted
    assert [row[f"headroom_{name}"] for name in ("float16", "e4m3", "e5m2")] == [
        65504 / 26000,
        448 / 26000,
        57344 / 26000,
    ]


def test_ties_and_a_larger_gate_are_told() -> None:
    member = planted(component="gate", layer=1, value=-5000.0)
    member.sites.loc[member.sites.component == "residual", ["peak", "peak_signed"]] = 64.0
    row = tables.global_maxima([replace(member, headline=headline_of(member.sites))]).iloc[0]
    assert (row.M, row.M_with_gate) == (64.0, 5000.0)
    assert row.ties == "residual@1, residual@2, residual@3"


@pytest.mark.parametrize(
    ("component", "layer", "value", "model_type"),
    [
        ("residual", 2, 12288.0, "qwen2"),
        ("mlp_output", 1, -10048.0, "qwen3_moe"),
        ("gate", 0, -3008.0, "qwen2"),
        ("embedding", None, 1520.0, "qwen2"),
        ("final_norm", None, -65280.0, "qwen3_moe"),
    ],
)
def test_a_planted_peak_that_was_measured_is_exact(component: str, layer: int, value: float, model_type: str) -> None:
    check = tables.instrument_check([real(), planted("p", component, layer, 5, value, model_type)]).iloc[0]
    assert check.verdict == "exact"
    assert (check.measured_value, check.measured_component, check.measured_token_id) == (value, component, 3)


def changed(column: str, value: float) -> Member:
    """A planted checkpoint whose measured peak differs from the truth in one thing."""
    member = planted()
    at = (member.sites.component == "residual") & member.sites.layer.eq(2).fillna(False)
    member.sites.loc[at.astype(bool), column] = value
    top = member.top.copy()
    if column in top:
        top[column] = value
    return replace(member, headline=headline_of(member.sites), top=top)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("peak_signed", -12288.0),
        ("peak_channel", 38),
        ("peak_sample", 18),
        ("peak_position", 100),
        ("peak", 1.0),
    ],
)
def test_a_measured_peak_that_differs_in_one_thing_is_not_exact(column: str, value: float) -> None:
    assert tables.instrument_check([planted()]).verdict.tolist() == ["exact"]
    assert tables.instrument_check([changed(column, value)]).verdict.tolist() == ["DIFFERS"]


def test_another_token_or_nothing_finite_is_not_exact() -> None:
    member = planted()
    other = replace(member, top=member.top.assign(token_id=4))
    none = replace(
        member, headline={"M": None, "M_with_gate": None, "nonfinite": 7, "attention": "sdpa"}, top=member.top.iloc[:0]
    )
    assert tables.instrument_check([other, none]).verdict.tolist() == ["DIFFERS", "DIFFERS"]


def test_int8_has_the_worst_site_and_the_peak_residual_layer_of_each_policy() -> None:
    member = real()
    rows = tables.int8([member])
    assert rows.policy.tolist() == list(POLICIES) * 2
    assert rows["at"].tolist() == [PEAK_SITE] * 2 + [WORST_SITE] * 2
    assert rows.site[rows["at"] == PEAK_SITE].tolist() == ["residual@11"] * 2
    for policy, site in zip(POLICIES, rows.relative_rmse[rows["at"] == WORST_SITE], strict=True):
        assert site == member.errors.relative_rmse[member.errors.policy == policy].max()


def test_a_checkpoint_without_finite_values_keeps_its_rows() -> None:
    members = [real(), nothing_finite()]
    assert pd.isna(tables.global_maxima(members).M.iloc[1])
    assert tables.int8(members)["at"].tolist()[-2:] == ["nothing finite"] * 2
    assert tables.checkpoints(members).checkpoint.tolist() == ["SmolLM2-135M-Instruct", "broken"]


def test_a_checkpoint_of_zeros_has_no_headroom_to_tell() -> None:
    member = planted()
    sites = member.sites.assign(peak=0.0, peak_signed=0.0)
    row = tables.global_maxima([replace(member, sites=sites, headline=headline_of(sites))]).iloc[0]
    assert row.M == 0
    assert row.headroom_e4m3 is None or pd.isna(row.headroom_e4m3)


def test_tables_without_planted_or_without_real_checkpoints_can_be_made() -> None:
    assert tables.instrument_check([real()]).empty
    for table in ALL:
        assert "checkpoint" in table([real()]).columns
        assert "checkpoint" in table([planted()]).columns
        assert "checkpoint" in table([nothing_finite()]).columns


def test_the_short_ancestry_leaves_the_counts_out() -> None:
    assert short_ancestry("dequantized from GGUF Q4_1 (181 Q4_1, 61 F32 tensors)") == "dequantized from GGUF Q4_1"
    assert short_ancestry("as released") == "as released"
