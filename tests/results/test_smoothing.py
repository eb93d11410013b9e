"""The table of what SmoothQuant reaches: side by side at the same sites, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
from results.members import real

from maxact.quantize.smoothed import SMOOTHING
from maxact.results.smoothing import smoothing

Row = dict[str, Any]


def row(layer: int, alpha: float | None, output: float, granularity: str = "tensor", **more: Any) -> Row:
    named = {"site": layer, "component": "mlp_input", "layer": layer, "alpha": alpha, "format": "int8"}
    reached = {"relative_rmse": 0.1, "sqnr_db": output + 3, "output_relative_rmse": 10 ** (-output / 20)}
    return {**named, "granularity": granularity, "tokens": 90, **reached, "output_sqnr_db": output, **more}


def table(rows: Sequence[Row]) -> pd.DataFrame:
    return smoothing([replace(real(), smoothing=pa.Table.from_pylist(list(rows), schema=SMOOTHING).to_pandas())])


def test_medians_worst_and_gains_are_of_the_same_sites() -> None:
    without, with_s = (10.0, 20.0, 31.0), (25.0, 26.0, 30.0)
    rows = [row(layer, None, output) for layer, output in enumerate(without)]
    rows += [row(layer, 0.5, output) for layer, output in enumerate(with_s)]
    rows += [row(7, None, 99.0), {"site": 7, "component": "mlp_input", "layer": 7, "alpha": 0.5, "reason": "a router"}]
    (found,) = table(rows).to_dict("records")
    assert (found["sites"], found["sites_worse"], found["share_worse"], found["tokens"]) == (3, 1, 1 / 3, 90)
    assert (found["output_median_without_db"], found["output_median_with_db"]) == (20, 26)
    assert (found["output_worst_without_db"], found["output_worst_with_db"]) == (10, 25)
    assert (found["input_median_with_db"], found["input_worst_without_db"]) == (29, 13)
    assert (found["median_gain_db"], found["worst_site"]) == (6, "mlp_input@0")
    assert found["note"] == "1 sites left out, the first: a router"


def test_tokens_that_are_not_finite_are_told() -> None:
    rows = [
        row(layer, alpha, 10.0, granularity, tokens_left_out=lost)
        for layer, lost in ((0, 0), (1, 2), (2, 90))
        for alpha in (None, 0.5)
        for granularity in ("tensor", "token")
    ]
    assert set(table(rows).note) == {"not finite, and left out: up to 90 tokens, at 2 sites"}


EXACT = {"output_relative_rmse": 0.0, "output_sqnr_db": math.nan}


def test_a_site_that_only_one_way_has_a_scale_for_is_worst_by_the_other() -> None:
    rows = [row(0, None, 10.0), row(0, 0.5, 20.0), row(1, None, 10.0), row(1, 0.5, math.nan)]
    (found,) = table(rows).to_dict("records")
    assert (found["sites"], found["sites_worse"], found["worst_site"]) == (2, 1, "mlp_input@1")
    assert (found["output_median_with_db"], found["output_worst_with_db"]) == (-math.inf, -math.inf)
    assert (found["output_median_without_db"], found["median_gain_db"]) == (10.0, -math.inf)


def test_inputs_are_of_the_same_sites_on_both_sides() -> None:
    lost = {"relative_rmse": math.nan, "sqnr_db": math.nan}
    rows = [row(site, None, 10.0, sqnr_db=5.0) for site in (0, 1)]
    rows += [row(0, 0.5, 20.0, sqnr_db=50.0), row(1, 0.5, math.nan, **lost)]
    (found,) = table(rows).to_dict("records")
    assert (found["input_median_without_db"], found["input_worst_without_db"]) == (5, 5)
    assert (found["input_median_with_db"], found["input_worst_with_db"]) == (-math.inf, -math.inf)


def test_the_median_of_a_lost_and_an_exact_input_is_lost() -> None:
    exact, lost = {"relative_rmse": 0.0, "sqnr_db": math.nan}, {"relative_rmse": math.nan, "sqnr_db": math.nan}
    rows = [row(0, None, 10.0), row(0, 0.5, 20.0, **exact), row(1, None, 10.0), row(1, 0.5, 20.0, **lost)]
    rows += [row(2, alpha, 10.0, **lost) for alpha in (None, 0.5)]
    (found,) = table(rows).to_dict("records")
    assert (found["sites"], found["input_median_without_db"], found["input_median_with_db"]) == (3, 13, -math.inf)


def test_the_median_of_a_lost_and_an_exact_output_is_lost() -> None:
    rows = [row(0, None, 10.0), row(0, 0.5, 0.0, **EXACT), row(1, None, 10.0), row(1, 0.5, -math.inf)]
    (found,) = table(rows).to_dict("records")
    assert (found["sites"], found["output_median_with_db"], found["median_gain_db"]) == (2, -math.inf, -math.inf)


def test_an_exact_output_is_infinite_and_one_without_an_error_is_left_out() -> None:
    rows = [row(0, None, 10.0), row(0, 0.5, 0.0, **EXACT), row(1, None, math.nan), row(1, 0.5, math.nan)]
    (found,) = table(rows).to_dict("records")
    assert (found["sites"], found["median_gain_db"], found["sites_worse"]) == (1, math.inf, 0)


def test_where_the_input_stays_only_the_weights_have_an_error() -> None:
    kept = {"granularity": "none", "relative_rmse": 0.0, "sqnr_db": math.nan}
    (found,) = table([row(0, None, 40.0, **kept), row(0, 0.5, 38.0, **kept)]).to_dict("records")
    assert found["granularity"] == "weights alone"
    assert math.isnan(found["input_median_with_db"])
    assert found["median_gain_db"] == -2


def test_a_checkpoint_of_which_nothing_is_smoothed_says_why_and_one_that_is_not_asked_has_no_row() -> None:
    (found,) = table([{"site": 0, "component": "mlp_input", "layer": 0, "alpha": 0.5, "reason": "a router"}]).to_dict(
        "records"
    )
    assert (found["sites"], found["note"]) == (0, "1 sites left out, the first: a router")
    assert smoothing([real()]).empty
