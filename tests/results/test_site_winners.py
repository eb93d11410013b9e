"""The winner of each site follows from its errors, and turns with them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from results.test_decisions import ROWS, with_errors

from maxact.results.site_winners import site_winners


def found(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = site_winners([with_errors(rows)]).to_dict("records")
    return {str(name): value for name, value in row.items()}


def test_each_site_has_its_winner_and_its_margin_to_another_format() -> None:
    row = found(ROWS)
    assert (row["component"], row["bits"], row["sites"], row["winners"]) == ("residual", 8, 3, 2)
    assert row["winner_of_layers"] == "int8, mse: 0 to 1; fp8_e4m3, max: 2"
    assert (row["median_margin_db"], row["least_margin_db"], row["least_margin_site"]) == (5.0, 1.0, "residual@1")


def test_other_errors_give_other_winners() -> None:
    turned = [row | {"sqnr_db": 99.0} if (row["format"], row["site"]) == ("fp8_e4m3", 1) else row for row in ROWS]
    assert found(turned)["winner_of_layers"] == "fp8_e4m3, max: 1 to 2; int8, mse: 0"


def test_a_finer_granularity_is_named_and_widths_are_apart() -> None:
    finer = [
        {"site": site, "layer": site, "format": format, "granularity": "token", "sqnr_db": 50.0}
        for site in (0, 2)
        for format in ("int8", "int4")
    ]
    frame = site_winners([with_errors(ROWS + finer)])
    assert frame.bits.tolist() == [4, 8]
    assert frame.winner_of_layers.tolist() == ["int4, token, max: 0, 2", "int8, token, max: 0, 2; int8, mse: 1"]
    assert frame.note.isna().all()
    assert pd.isna(frame.median_margin_db[0])
    assert frame.median_margin_db[1] == 24.0


def test_exact_lost_and_undefined_sites_count_as_in_the_decisions() -> None:
    lost = {"sqnr_db": -math.inf, "rmse": math.inf, "relative_rmse": math.inf}
    exact = {"sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": 0.0}
    nothing = {"sqnr_db": math.nan, "rmse": math.nan, "relative_rmse": math.nan}
    changes = {("int8", 0): exact, ("fp8_e4m3", 0): lost}
    changes |= {(format, 1): lost for format in ("int8", "fp8_e4m3")}
    changes |= {(format, 2): nothing for format in ("int8", "fp8_e4m3")}
    row = found([row | changes[row["format"], row["site"]] for row in ROWS])
    assert row["winner_of_layers"] == "int8, max: 0; none: 1"
    assert (row["sites"], row["winners"], row["least_margin_db"]) == (2, 1, 0.0)
    nothing_finite = found([row | nothing for row in ROWS])
    assert nothing_finite["note"] == "no finite value"


def test_without_errors_there_is_no_row() -> None:
    nothing = site_winners([with_errors([row | {"component": "gate"} for row in ROWS])])
    assert nothing.empty
    assert list(nothing.columns) == list(site_winners([with_errors(ROWS)]).columns)
