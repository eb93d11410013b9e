"""The winning format of each kind of tensor follows from the errors, and turns with them."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from results.members import real

from maxact.results.decisions import decisions
from maxact.results.headroom import headroom
from maxact.results.member import Member


def with_errors(rows: list[dict[str, Any]]) -> Member:
    """A checkpoint with these errors."""
    known = {"layer": 0, "component": "residual", "rmse": 1.0, "relative_rmse": 0.1, "policy": "max"}
    known["elements"] = 10
    finer = [known | row for row in rows if "granularity" in row]
    whole = [known | row for row in rows if "granularity" not in row]
    columns = list(finer[0]) if finer else list(whole[0])
    frames = {"errors": pd.DataFrame(whole, columns=columns), "evaluated": pd.DataFrame(finer, columns=columns)}
    return replace(real(), **frames)


def residual(member: Member) -> dict[str, Any]:
    frame = decisions([member])
    return {str(name): value for name, value in frame[frame.tensors == "residual stream"].iloc[0].items()}


ROWS: list[dict[str, Any]] = [
    {"site": site, "layer": site, "format": format, "policy": policy, "sqnr_db": value}
    for (format, policy), values in {
        ("int8", "max"): [30.0, 10.0, 20.0],
        ("int8", "mse"): [31.0, 25.0, 21.0],
        ("fp8_e4m3", "max"): [26.0, 24.0, 26.0],
    }.items()
    for site, value in enumerate(values)
]


def test_the_largest_median_wins_with_its_margin_to_another_format() -> None:
    found = residual(with_errors(ROWS))
    assert (found["format"], found["policy"], found["bits"]) == ("fp8_e4m3", "max", 8)
    assert found["median_sqnr_db"] == statistics.median([26.0, 24.0, 26.0])
    assert (found["worst_sqnr_db"], found["worst_site"]) == (24.0, "residual@1")
    assert (found["runner_up"], found["margin_db"]) == ("int8, mse", 1.0)
    assert (found["sites"], found["sites_won"]) == (3, 1)


FINER: list[dict[str, Any]] = [
    {"site": site, "layer": site, "format": "int8", "granularity": "token", "sqnr_db": value}
    for site, value in enumerate([40.0, 9.0, 41.0])
]


def test_a_finer_granularity_may_win_and_the_best_static_choice_stays_in_sight() -> None:
    found = residual(with_errors(ROWS + FINER))
    assert (found["format"], found["granularity"], found["policy"]) == ("int8", "token", "max")
    assert (found["static_winner"], found["gain_over_static_db"]) == ("fp8_e4m3, max", 14.0)
    assert (found["runner_up"], found["margin_db"]) == ("fp8_e4m3, max", 14.0)
    assert found["runner_up_bits_per_element"] == 8.0
    assert found["bits_per_element"] == 8 + 16 / 576
    static = residual(with_errors(ROWS))
    assert (static["granularity"], static["static_winner"]) == ("tensor", "fp8_e4m3, max")
    assert (static["gain_over_static_db"], static["bits_per_element"]) == (0.0, 8.0)


@pytest.mark.parametrize(("others", "wins"), [((40.0, 41.0), True), ((40.0, 20.0), False)])
def test_where_a_way_has_no_scale_it_is_infinitely_bad(others: tuple[float, float], wins: bool) -> None:
    """A channel that was 0 all over the calibration split: its other sites alone must not make a way win."""
    by_channel = {"format": "int8", "granularity": "channel"}
    rows: list[dict[str, Any]] = [
        {"site": 0, "layer": 0, "sqnr_db": others[0]},
        {"site": 1, "layer": 1, "sqnr_db": math.nan, "rmse": math.nan, "relative_rmse": math.nan},
        {"site": 2, "layer": 2, "sqnr_db": others[1]},
    ]
    found = residual(with_errors(ROWS + [by_channel | row for row in rows]))
    assert found["sites"] == 3
    if wins:
        assert (found["granularity"], found["median_sqnr_db"], found["sites_won"]) == ("channel", 40.0, 2)
        assert (found["worst_sqnr_db"], found["worst_site"]) == (-math.inf, "residual@1")
    else:
        assert (found["granularity"], found["median_sqnr_db"]) == ("tensor", 26.0)


def test_other_errors_give_another_winner() -> None:
    worse = [row | {"sqnr_db": row["sqnr_db"] - 5 * (row["format"] == "fp8_e4m3")} for row in ROWS]
    found = residual(with_errors(worse))
    assert (found["format"], found["policy"], found["sites_won"]) == ("int8", "mse", 3)


def test_an_exact_site_counts_as_infinite_and_one_without_power_not_at_all() -> None:
    exact = {"site": 3, "layer": 3, "format": "int8", "sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": 0.0}
    nothing = {"site": 4, "layer": 4, "format": "int8", "sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": math.nan}
    found = residual(with_errors([{"site": 0, "format": "int8", "sqnr_db": 12.0}, exact, nothing]))
    assert (found["sites"], found["median_sqnr_db"], found["worst_sqnr_db"]) == (2, math.inf, 12.0)
    assert pd.isna(found["runner_up"])


def test_widths_are_apart() -> None:
    rows = [{"site": 0, "format": name, "sqnr_db": 9.0} for name in ("int4", "int8", "float16")]
    frame = decisions([with_errors(rows)])
    assert frame[frame.tensors == "residual stream"].bits.tolist() == [4, 8, 16]


def test_a_runner_up_with_finer_scales_has_their_share_too() -> None:
    fp8 = [row | {"sqnr_db": 50.0} for row in ROWS if row["format"] == "fp8_e4m3"]
    found = residual(with_errors([row for row in ROWS if row["format"] == "int8"] + fp8 + FINER))
    assert (found["format"], found["runner_up"]) == ("fp8_e4m3", "int8, token, max")
    assert (found["bits_per_element"], found["runner_up_bits_per_element"]) == (8.0, 8 + 16 / 576)


OVERFLOWS = {"sqnr_db": -math.inf, "rmse": math.inf, "relative_rmse": math.inf}
EXACT = {"sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": 0.0}


def casts(*float16: dict[str, Any]) -> Member:
    """Sites where float16 does as told and bfloat16 has 50 dB."""
    every: list[dict[str, Any]] = []
    for site, told in enumerate(float16):
        place = {"site": site, "layer": site}
        cast = place | {"policy": "none"}
        every.append(cast | {"format": "float16"} | told)
        every.append(cast | {"format": "bfloat16", "sqnr_db": 50.0})
    return with_errors(every)


def test_a_site_where_every_format_is_lost_is_won_by_none() -> None:
    fine = {"format": "float16", "sqnr_db": 70.0}
    rows = [{"site": 0, "layer": 0} | fine] + [{"site": at, "layer": at} | fine | OVERFLOWS for at in (1, 2)]
    found = residual(with_errors(rows))
    assert (found["sites"], found["sites_won"], found["float16_overflows"]) == (3, 1, 2)


def test_a_cast_that_becomes_infinite_is_worst_and_counted() -> None:
    fine = {"sqnr_db": 73.0}
    found = residual(casts(fine, fine, OVERFLOWS))
    assert (found["format"], found["policy"], found["bits"]) == ("float16", "none", 16)
    assert (found["median_sqnr_db"], found["worst_sqnr_db"], found["worst_site"]) == (73.0, -math.inf, "residual@2")
    assert (found["runner_up"], found["margin_db"], found["float16_overflows"]) == ("bfloat16", 23.0, 1)
    found = residual(casts(fine, OVERFLOWS, OVERFLOWS))
    assert (found["format"], found["median_sqnr_db"], found["worst_sqnr_db"]) == ("bfloat16", 50.0, 50.0)
    assert (found["runner_up"], found["margin_db"], found["float16_overflows"]) == ("float16", math.inf, 2)
    assert residual(casts(fine, fine))["float16_overflows"] == 0


def test_of_equal_medians_the_better_worst_site_wins() -> None:
    """float16, first in the order of the study, is exact at most sites and overflows at one; bfloat16 is exact everywhere."""
    member = casts(EXACT, EXACT, OVERFLOWS)
    errors = member.errors.copy()
    errors.loc[errors["format"] == "bfloat16", list(EXACT)] = list(EXACT.values())
    found = residual(replace(member, errors=errors))
    assert (found["format"], found["runner_up"], found["margin_db"]) == ("bfloat16", "float16", 0.0)
    assert (found["worst_sqnr_db"], found["float16_overflows"]) == (math.inf, 1)


@pytest.mark.parametrize("other", [EXACT, {"sqnr_db": 90.0}, OVERFLOWS])
def test_a_median_between_an_infinite_error_and_another_is_infinitely_bad(other: dict[str, Any]) -> None:
    found = residual(casts(OVERFLOWS, other))
    assert (found["format"], found["runner_up"], found["margin_db"]) == ("bfloat16", "float16", math.inf)
    assert found["static_winner"] == "bfloat16"


def test_without_float16_nothing_is_said_about_it() -> None:
    assert pd.isna(residual(with_errors(ROWS))["float16_overflows"])


def test_inputs_of_linear_layers_are_also_those_of_routed_experts() -> None:
    member = with_errors(
        [
            {"site": site, "component": name, "format": "int8", "sqnr_db": value}
            for site, (name, value) in enumerate({"mlp_input": 30.0, "expert_down_input": 10.0}.items())
        ]
    )
    found = decisions([member]).set_index("tensors").loc["inputs of linear layers"]
    assert (found["sites"], found["median_sqnr_db"], found["worst_site"]) == (2, 20.0, "expert_down_input@0")


def test_what_was_not_measured_is_said() -> None:
    frame = decisions([with_errors(ROWS)])
    assert frame[frame.tensors == "KV cache"].note.tolist() == ["not measured; add it to measure.components"]


def test_what_an_architecture_has_not_and_what_is_in_float32_is_not_told_as_left_out_of_the_study() -> None:
    """As in Mamba: no cache of keys and values, and a residual stream of which no histogram is exact."""
    member = with_errors([ROWS[0] | {"component": "mlp_input"}])
    keys = member.sites.iloc[:1].assign(component="key", site=1000, status="not applicable", reason="it keeps no keys")
    residual = member.sites.iloc[:1].assign(component="residual", site=1001, dtype="float32", rounded=True)
    member = replace(member, sites=pd.concat([member.sites[member.sites.component != "residual"], keys, residual]))
    notes = decisions([member]).set_index("tensors").note
    assert notes["KV cache"] == "not there: it keeps no keys"
    assert "float32" in notes["residual stream"]
    assert headroom([member]).set_index("tensors").note["KV cache"] == "not there: it keeps no keys"


def test_nothing_finite_is_said() -> None:
    rows = [row | {"sqnr_db": math.nan, "rmse": math.nan, "relative_rmse": math.nan} for row in ROWS]
    assert residual(with_errors(rows))["note"] == "no finite value"
