"""What quantizing costs, beside the error of what was quantized."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from results.members import planted, real

from maxact.results.perplexity import perplexity


def test_cost_and_error_stand_side_by_side() -> None:
    member = real()
    frame = perplexity([planted(), member])
    assert list(frame["checkpoint"]) == [member.name] * 4
    without, static, token, cast = frame.to_dict("records")
    assert (without["format"], without["ratio"], without["perplexity"], without["sites"]) == ("none", 1.0, 20.0, 0)
    assert (static["format"], static["policy"], static["ratio"], static["perplexity"]) == ("int8", "max", 2.5, 50.0)
    gates = member.errors[(member.errors.component == "gate") & (member.errors.policy == "max")]
    expected = np.median(gates[gates.layer > 0].sqnr_db)
    assert static["median_sqnr_db"] == pytest.approx(expected)
    assert (static["sites"], static["sites_with_error"], static["sites_left"]) == (29, 29, 1)
    assert static["note"] == "gate, 1 sites: made up"
    finer = member.evaluated[(member.evaluated.component == "gate") & (member.evaluated["granularity"] == "token")]
    expected = np.median(finer[(finer["format"] == "int8") & (finer.layer > 0)].sqnr_db)
    assert token["median_sqnr_db"] == pytest.approx(expected)
    assert token["sites_with_error"] == 29
    assert math.isnan(cast["median_sqnr_db"])
    assert cast["sites_with_error"] == 0
    assert math.isnan(cast["perplexity"])
    assert cast["note"].startswith("a logit is not finite; gate")


def test_without_an_evaluation_scales_by_token_have_no_stored_error() -> None:
    token = perplexity([replace(real(), evaluated=pd.DataFrame())]).iloc[2]
    assert token["granularity"] == "token"
    assert token["sites_with_error"] == 0
    assert math.isnan(token["median_sqnr_db"])


def test_exact_reconstruction_counts_as_infinite_and_an_undefined_error_is_left_out() -> None:
    member = real(layers=4)  # gates of three layers are quantized
    errors, gates = member.errors.copy(), (member.errors.component == "gate") & (member.errors.policy == "max")
    rows = list(errors[gates].index)
    errors.loc[rows, "sqnr_db"] = [99.0, 10.0, np.nan, np.nan]
    errors.loc[rows, ["rmse", "relative_rmse"]] = [[1, 1], [1, 1], [0, 0], [np.nan, np.nan]]
    static = perplexity([replace(member, errors=errors)]).iloc[1]
    assert static["sites_with_error"] == 2
    assert static["median_sqnr_db"] == math.inf


def test_a_study_that_asks_it_of_none_has_an_empty_table_with_the_same_columns() -> None:
    frame, full = perplexity([planted()]), perplexity([real()])
    assert frame.empty
    pd.testing.assert_series_equal(frame.dtypes, full.dtypes)


def test_a_smoothed_quantizer_says_where_it_is_smoothed_and_has_no_stored_error() -> None:
    member = real(layers=4)
    assert member.perplexity is not None
    assert member.quantized is not None
    table, places = member.perplexity.copy(), member.quantized.copy()
    table.loc[1, ["smooth", "smoothed"]] = [0.5, 2]
    places.loc[places.index[(places.quantizer == 0) & (places.layer == 2)], "plain"] = "a router takes it"
    row = perplexity([replace(member, perplexity=table, quantized=places)]).iloc[1]
    assert (row["smooth"], row["sites"], row["smoothed"], row["sites_with_error"]) == (0.5, 3, 2, 0)
    assert math.isnan(row["median_sqnr_db"])
    assert row["note"] == "gate, 1 sites: made up; gate, 1 sites: not smoothed, a router takes it"


def test_errors_of_finer_scales_that_clip_are_not_those_of_the_pass() -> None:
    member = real()
    clipped = member.evaluated.assign(policy="mse", sqnr_db=999.0)
    both = replace(member, evaluated=pd.concat([member.evaluated, clipped], ignore_index=True))
    pd.testing.assert_frame_equal(perplexity([both]), perplexity([member]))
