"""What the figures of formats draw is what the stored errors and curves say."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from results.members import nothing_finite, planted, real

from maxact.results.drawn_formats import CURVE, POLICY, clipping_curves, error_by_site


def test_the_best_policy_of_the_worst_site_of_a_layer_is_drawn() -> None:
    rows = [
        {"site": site, "component": component, "layer": 3, "format": "int8", "policy": policy, "sqnr_db": value}
        | {"rmse": 0.1, "relative_rmse": 0.1}
        for site, component, policy, value in [
            (1, "mlp_input", "max", 10.0), (1, "mlp_input", "mse", 30.0), (2, "down_input", "max", 20.0),
            (2, "down_input", "mse", 12.0), (5, "residual", "max", -math.inf), (6, "key", "max", math.nan),
        ]
    ]  # fmt: skip
    rows.append({**rows[4], "format": "float16", "sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": 0.0})
    frame = error_by_site([replace(real(), errors=pd.DataFrame(rows))])
    found = {(row.tensors, row.format): row.sqnr_db for row in frame.itertuples()}
    assert found["inputs of linear layers", "int8"] == 20.0
    assert found["residual stream", "int8"] == -math.inf
    assert found["residual stream", "float16"] == math.inf
    assert math.isnan(found["KV cache", "int8"])
    assert frame.layer.dropna().unique().tolist() == [3]


def test_a_kind_without_sites_has_one_row_that_names_the_checkpoint() -> None:
    frame = error_by_site([planted(), real()])
    rows = frame[frame.tensors == "KV cache"]
    assert rows.checkpoint.tolist() == [real().name, planted().name]
    assert rows["format"].isna().all()


def test_thresholds_are_by_the_largest_value_and_policies_stand_where_they_chose() -> None:
    member = real()
    frame = clipping_curves([member])
    curve = frame[(frame.kind_of_row == CURVE) & (frame["format"] == "int8")]
    assert curve.share.max() == pytest.approx(2.0)
    stored = member.curves[member.curves["format"] == "int8"]
    assert curve.sqnr_db.tolist() == stored.sqnr_db.tolist()
    chosen = frame[(frame.kind_of_row == POLICY) & (frame["format"] == "int8")].set_index("policy")
    peak = member.sites.peak[member.sites.component == "residual"].max()
    assert chosen.share["max"] == pytest.approx(1.0)
    assert chosen.share["quantile_0.999"] == pytest.approx(4.0 / peak)


def test_a_checkpoint_without_curves_is_named() -> None:
    frame = clipping_curves([nothing_finite()])
    assert frame.checkpoint.tolist() == ["broken"]
    assert frame.sqnr_db.isna().all()
