"""What sharing a scale among fewer elements buys, and what protection would: from errors, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from results.members import real

from maxact.quantize.formats import FORMATS
from maxact.quantize.ways import bits_of_scale
from maxact.results.granularities import granularities, one_policy, protection
from maxact.results.member import Member

KNOWN = {"layer": 0, "component": "residual", "policy": "max", "rmse": 1.0, "relative_rmse": 0.1, "elements": 100}
SITES = pd.DataFrame({"site": [0, 1, 2], "channels": [64, 64, 576]}).assign(
    component="residual", status="measured", dtype="bfloat16", reason=None
)


def member(evaluated: list[dict[str, Any]], whole: list[dict[str, Any]], protected: list[dict[str, Any]]) -> Member:
    frames = [pd.DataFrame([KNOWN | row for row in rows]) for rows in (evaluated, whole, protected)]
    return replace(real(), sites=SITES, evaluated=frames[0], errors=frames[1], protection=frames[2])


def with_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of the other kinds of tensors, which say why there is none."""
    return frame[frame["format"].notna()].reset_index(drop=True)


def rows(format: str, granularity: str, values: list[float]) -> list[dict[str, Any]]:
    named = {"format": format, "granularity": granularity}
    return [named | {"site": site, "layer": site, "sqnr_db": value} for site, value in enumerate(values)]


def test_whole_tensors_stand_beside_finer_scales_of_the_same_format() -> None:
    finer = rows("int8", "token", [30.0, 10.0, 20.0]) + rows("nvfp4", "block", [9.0, 8.0, 7.0])
    whole = [row | {"granularity": "tensor"} for row in rows("int8", "tensor", [5.0, 6.0, 4.0])]
    clipped = [row | {"policy": "mse", "sqnr_db": 99.0} for row in whole]
    finer += [row | {"policy": "mse", "sqnr_db": row["sqnr_db"] + 1} for row in finer[-3:]]
    frame = with_errors(granularities([member(finer, whole + clipped + rows("fp8_e4m3", "tensor", [1.0] * 3), [])]))
    named = [frame[name] for name in ("format", "granularity", "policy", "median_sqnr_db", "worst_site")]
    assert list(zip(*named, strict=True)) == [
        ("int8", "tensor", "max", 5.0, "residual@2"),
        ("int8", "tensor", "mse", 99.0, "residual@0"),
        ("int8", "token", "max", 20.0, "residual@1"),
        ("nvfp4", "block", "max", 8.0, "residual@2"),
        ("nvfp4", "block", "mse", 9.0, "residual@2"),
    ]
    assert frame.worst_sqnr_db.tolist() == [4.0, 99.0, 10.0, 7.0, 8.0]
    assert frame.sites.tolist() == [3] * 5
    assert frame.bits_per_element.tolist() == pytest.approx([8.0, 8.0, 8 + (2 * 16 / 64 + 16 / 576) / 3, 4.5, 4.5])


def test_what_is_drawn_has_the_policy_max_or_where_it_is_not_known_the_best() -> None:
    known = rows("int8", "token", [30.0, 10.0, 20.0])
    known += [row | {"policy": "mse", "sqnr_db": 50.0} for row in known]
    other = rows("nvfp4", "block", [9.0, 8.0, 7.0])
    alone = [
        row | {"policy": policy, "sqnr_db": value} for policy, value in (("mse", 6.0), ("q", 9.0)) for row in other
    ]
    frame = one_policy([member(known + alone, rows("fp8_e4m3", "tensor", [1.0] * 3), [])])
    kept = with_errors(frame)
    drawn = list(zip(kept["format"], kept["policy"], kept["median_sqnr_db"], strict=True))
    assert frame.tensors.tolist() == ["inputs of linear layers", "KV cache", "residual stream", "residual stream"]
    assert drawn == [("int8", "max", 20.0), ("nvfp4", "q", 9.0)]
    assert frame.columns.tolist() == granularities([]).columns.tolist()


@pytest.mark.parametrize(
    ("format", "granularity", "expected"),
    [
        ("int8", "tensor", 0),
        ("int8", "channel", 0),
        ("int4", "group_32", 0.5),
        ("int4_asymmetric", "group_16", 20 / 16),
        ("fp8_e4m3", "token", 16 / 256),
        ("mxfp4", "block", 0.25),
        ("nvfp4", "block", 0.5),
        ("bfloat16", "tensor", 0),
    ],
)
def test_the_share_of_scales_in_bits(format: str, granularity: str, expected: float) -> None:
    assert bits_of_scale(FORMATS[format], granularity, 256) == expected


def test_exact_sites_are_infinite_and_nothing_finite_is_said() -> None:
    exact = [row | {"rmse": 0.0, "relative_rmse": 0.0} for row in rows("int8", "token", [math.nan] * 3)]
    broken = [row | {"rmse": math.nan, "relative_rmse": math.nan} for row in rows("int8", "channel", [math.nan] * 3)]
    found = with_errors(granularities([member(exact + broken, rows("fp8_e4m3", "tensor", [1.0] * 3), [])]))
    assert found.granularity.tolist() == ["token", "channel"]
    assert found.median_sqnr_db[0] == math.inf
    assert pd.isna(found.median_sqnr_db[1])
    assert found.note.tolist()[1] == "no finite value"


def test_gains_of_protection_are_by_site() -> None:
    bare = [row | {"protected": "nothing", "share": 0.0} for row in rows("int8", "", [10.0, 20.0, 30.0])]
    kept = [row | {"protected": "first token", "share": 0.25} for row in rows("int8", "", [40.0, 21.0, 32.0])]
    known = member(rows("int8", "token", [1.0] * 3), rows("int8", "tensor", [1.0] * 3), bare + kept)
    frame = with_errors(protection([known]))
    assert frame.protected.tolist() == ["nothing", "first token"]
    assert frame.median_sqnr_db.tolist() == [20.0, 32.0]
    row = frame.iloc[1]
    assert (row.median_gain_db, row.largest_gain_db, row.largest_gain_site) == (2.0, 30.0, "residual@0")
    assert (row.share, row.sites) == (0.25, 3)
    assert pd.isna(frame.median_gain_db[0])


def test_protection_that_makes_all_exact_gains_infinitely_much() -> None:
    bare = [row | {"protected": "nothing", "share": 0.0} for row in rows("int8", "", [10.0])]
    kept = [{**bare[0], "protected": "first token", "sqnr_db": math.nan, "rmse": 0.0, "relative_rmse": 0.0}]
    both = [{**row, "protected": "1 channel", "site": 1, "rmse": 0.0, "relative_rmse": 0.0} for row in kept]
    frame = with_errors(protection([member([], [], bare + kept + both)]))
    assert frame.set_index("protected").median_gain_db["first token"] == math.inf
    assert pd.isna(frame.set_index("protected").median_gain_db["1 channel"])


def test_why_a_kind_of_tensor_of_an_evaluated_checkpoint_has_no_error_is_said_once() -> None:
    """As in Mamba: no cache of keys and values, and a residual stream in float32."""
    of = {"component": "mlp_input", "share": 0.0, "protected": "nothing"}
    known = [row | of for row in rows("int8", "token", [1.0])]
    sites = SITES.assign(component=["mlp_input", "key", "residual"], dtype=["bfloat16", None, "float32"])
    sites = sites.assign(status=["measured", "not applicable", "measured"], reason=[None, "it keeps no keys", None])
    mamba = replace(member(known, known, known), sites=sites)
    for frame in (granularities([mamba]), one_policy([mamba]), protection([mamba])):
        notes = frame[frame["format"].isna()].set_index("tensors").note
        assert notes.index.tolist() == ["KV cache", "residual stream"]
        assert notes["KV cache"] == "not there: it keeps no keys"
        assert notes["residual stream"].startswith("float32: ")


def test_checkpoints_that_are_not_evaluated_have_no_rows() -> None:
    bare = replace(real(), evaluated=pd.DataFrame(), protection=pd.DataFrame())
    assert granularities([bare]).empty
    assert protection([bare]).empty
