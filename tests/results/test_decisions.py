"""The winning format of each kind of tensor follows from the errors, and turns with them."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import pandas as pd
from results.members import real

from maxact.results.decisions import decisions
from maxact.results.tables import Member


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
    assert found["bits_per_element"] == 8 + 16 / 576
    static = residual(with_errors(ROWS))
    assert (static["granularity"], static["static_winner"]) == ("tensor", "fp8_e4m3, max")
    assert (static["gain_over_static_db"], static["bits_per_element"]) == (0.0, 8.0)


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


def test_widths_are_apart_and_casts_are_left_out() -> None:
    rows = [{"site": 0, "format": name, "sqnr_db": 9.0} for name in ("int4", "int8", "float16")]
    frame = decisions([with_errors(rows)])
    assert frame[frame.tensors == "residual stream"].bits.tolist() == [4, 8]


def test_what_was_not_measured_is_said() -> None:
    frame = decisions([with_errors(ROWS)])
    assert frame[frame.tensors == "KV cache"].note.tolist() == ["not measured; add it to measure.components"]


def test_nothing_finite_is_said() -> None:
    rows = [row | {"sqnr_db": math.nan, "rmse": math.nan, "relative_rmse": math.nan} for row in ROWS]
    assert residual(with_errors(rows))["note"] == "no finite value"
