"""M seen from its samples, in each part of the corpus and inside routed experts, by hand and by plain loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from oracles import sureness as oracle
from results.members import moe, nothing_finite, planted, real

from maxact.measurement import SCHEMAS
from maxact.results.experts import experts
from maxact.results.how_sure import all_groups, domain_maxima, groups, how_sure, saturation, without_domain
from maxact.results.member import Member
from maxact.results.samples import class_maxima, sample_maxima
from maxact.results.witnesses import witnesses
from maxact.tokens import SCHEMA


def with_samples(**columns: list[object]) -> Member:
    """A checkpoint whose samples are these."""
    count = len(columns["abs_max"])
    plain = {"sample": range(count), "domain": "web", "language": "en", "script": "Latn", "length_bucket": 16}
    return replace(real(), samples=pd.DataFrame({**plain, "tokens": 5, **columns}))


@pytest.mark.parametrize("table", [how_sure, groups, all_groups])
def test_each_checkpoint_has_rows_that_say_its_kind_real_ones_first(table: object) -> None:
    assert callable(table)
    frame = table([planted(), real(), moe(), nothing_finite()]).drop_duplicates("checkpoint")
    assert frame.checkpoint.tolist() == ["SmolLM2-135M-Instruct", "broken", "planted-qwen2-dense", "planted-qwen3-moe"]
    assert frame.kind.tolist() == ["real", "real", "planted", "planted"]


def test_how_sure_is_what_the_draws_of_few_samples_say() -> None:
    strata = {"code": [3.0, 8.0], "web": [1.0, 20.0]}
    member = with_samples(abs_max=[3.0, 8.0, 1.0, 20.0, np.nan], domain=["code", "code", "web", "web", "web"])
    row = how_sure([member]).iloc[0]
    assert (row.samples, row.left_out, row.M, row.second) == (5, 1, 20.0, 8.0)
    assert row.expected_half == float(oracle.stratified_expected_maximum(strata, 2))
    assert row.expected_tenth == float(oracle.stratified_expected_maximum(strata, 1))
    drawn = np.array(oracle.resampled(strata))
    assert row.resampled_mean == pytest.approx(drawn.mean())
    assert row.resampled_same == pytest.approx((drawn == 20).mean())
    curve = saturation([member])
    assert curve.samples.tolist() == [1, 2, 3, 4]
    assert curve.share.iloc[-1] == 1.0
    assert curve.share.is_monotonic_increasing


def test_nothing_finite_is_said_and_has_no_curve() -> None:
    row = how_sure([nothing_finite()]).iloc[0]
    assert (row.samples, row.left_out) == (120, 120)
    assert pd.isna(row.M)
    assert saturation([nothing_finite()]).empty
    assert without_domain([nothing_finite()]).empty
    assert domain_maxima([nothing_finite()]).largest.isna().all()


def test_zeros_alone_have_no_share() -> None:
    member = with_samples(abs_max=[0.0, 0.0])
    assert saturation([member]).share.isna().all()
    assert groups([member]).share.isna().all()
    assert without_domain([member]).falls_by.isna().all()


def test_m_falls_without_the_domain_that_it_is_in_and_no_other() -> None:
    member = with_samples(abs_max=[3.0, 8.0, 1.0, 20.0], domain=["code", "code", "web", "web"])
    frame = without_domain([member]).set_index("domain")
    assert frame.M_without.to_dict() == {"code": 20.0, "web": 8.0}
    assert frame.falls_by.to_dict() == {"code": 0.0, "web": 0.6}


def test_groups_have_their_counts_and_the_languages_with_the_largest_maxima() -> None:
    languages = [f"l{number:02d}" for number in range(30)]
    member = with_samples(abs_max=[float(number) for number in range(30)], language=languages)
    frame = groups([member])
    assert frame[frame["by"] == "language"].group.tolist() == languages[20:]
    assert frame[frame["by"] == "length"][["group", "samples", "tokens", "largest"]].to_numpy().tolist() == [
        ["16", 30, 150, 29.0]
    ]
    assert (all_groups([member])["by"] == "language").sum() == 30
    kinds = frame[frame["by"] == "token class"]
    assert kinds.group.tolist() == ["first", "bos", "delimiter", "other"]
    assert kinds.tokens.tolist() == [120, 0, 4000, 52880]


def test_experts_that_few_tokens_chose_are_counted_with_what_that_means() -> None:
    frame = experts([real(), moe()])
    assert frame.checkpoint.unique().tolist() == ["planted-qwen3-moe"]
    row = frame.iloc[0]
    assert (row.experts, row.tokens_least, row.tokens_median, row.never_seen, row.few) == (8, 0, 1500, 1, 1)
    assert (row.bound, row.largest) == (1.0, 9.0)


def test_the_largest_of_a_sample_is_over_the_sites_of_m_and_both_signs(tmp_path: Path) -> None:
    rows = [
        {"site": site, "sample": sample, "max": largest, "min": smallest}
        for site, sample, largest, smallest in [
            (0, 0, 5.0, -7.0), (1, 0, 6.0, 1.0), (2, 0, 900.0, -900.0),
            (0, 1, None, None), (1, 1, None, None), (0, 2, -3.0, -4.0), (1, 2, None, None),
        ]
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, SCHEMAS["samples"]), tmp_path / "samples.parquet")
    tokens = [
        {"sample": sample, "domain": "web", "length_bucket": 16, "split": "rest", "token_ids": [1] * (sample + 1)}
        for sample in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(tokens, SCHEMA), tmp_path / "tokens.parquet")
    found = sample_maxima(tmp_path / "samples.parquet", tmp_path / "tokens.parquet", [0, 1])
    np.testing.assert_array_equal(found.abs_max, [7.0, np.nan, 4.0])
    assert found.tokens.tolist() == [1, 2, 3]


def test_classes_are_over_the_sites_of_m(tmp_path: Path) -> None:
    rows = [
        {"site": site, "token_class": kind, "tokens": 5, "abs_max": value}
        for site, kind, value in [(0, "first", 2.0), (1, "first", 3.0), (2, "first", 9.0), (0, "other", None)]
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMAS["classes"]), tmp_path / "classes.parquet")
    found = class_maxima(tmp_path / "classes.parquet", [0, 1]).set_index("token_class")
    assert found.abs_max["first"] == 3.0
    assert pd.isna(found.abs_max["other"])


def test_each_component_names_the_token_of_its_first_largest_value() -> None:
    frame = witnesses([moe(), real(), nothing_finite()])
    assert frame.checkpoint.unique().tolist() == ["SmolLM2-135M-Instruct", "planted-qwen3-moe"]  # the third has none
    row = frame[(frame.checkpoint == "planted-qwen3-moe") & (frame.component == "mlp_output")].iloc[0]
    assert (row.site, row.value, row.channel, row["sample"], row.position) == ("mlp_output@1", -10048.0, 11, 17, 101)
    assert (row.text, row.domain, row.id) == ("before [=|the] after", "web", "doc 1")
    assert pd.isna(row.expert)
