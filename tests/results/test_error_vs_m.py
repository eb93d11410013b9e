"""The points that are drawn are those that the link is computed from."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
from results.test_error_link import KEY, checkpoint, study

from maxact.results.error_link import error_link
from maxact.results.error_vs_m import error_vs_M

OTHER = ("fp8_e4m3", "token", "max")


def test_each_point_is_one_of_the_link_and_has_its_numbers() -> None:
    members = study(12, 5)
    frame, (link,) = error_vs_M(members), error_link(members).to_dict("records")
    assert frame["checkpoint"].tolist() == [member.name for member in members]
    assert frame["M"].tolist() == [member.headline["M"]["value"] for member in members]
    assert frame["relative_rmse"].tolist() == [member.errors["relative_rmse"].iloc[1] for member in members]
    assert frame["site"].unique().tolist() == ["residual@2"]
    for name in ("spearman", "p_holm", "verdict"):
        assert frame[name].unique().tolist() == [link[name]]
    assert link["verdict"] == "rises with M"
    assert (len(frame), frame["relative_rmse"].min() > 0) == (link["checkpoints"], True)


def test_planted_ones_and_what_is_not_finite_or_zero_have_no_point() -> None:
    members = [
        checkpoint("shown", "a", 10.0, 0.1),
        checkpoint("planted", "b", 20.0, 0.1, is_planted=True),
        checkpoint("without M", "c", None, 0.1),
        checkpoint("exact", "d", 30.0, 0.0),
        checkpoint("overflow", "e", 40.0, math.inf),
        checkpoint("unknown", "f", 50.0, math.nan),
    ]
    frame = error_vs_M(members)
    assert frame["checkpoint"].tolist() == ["shown", "without M", "exact", "overflow", "unknown"]
    assert frame.dropna(subset="relative_rmse")["checkpoint"].tolist() == ["shown"]
    assert frame["site"].notna().tolist() == frame["relative_rmse"].notna().tolist()
    assert frame.loc[frame["M"].isna(), "checkpoint"].tolist() == ["without M"]


def test_an_error_that_is_known_of_one_other_site_alone_is_of_that_site() -> None:
    member = checkpoint("published", "a", 10.0, 0.1)
    sites = pd.DataFrame({"site": [4, 9, 12], "component": ["residual", "residual", "final_norm"], "layer": [1, 2, None],
                          "peak": [1.0, 2.0, 10.0]})  # fmt: skip
    errors = member.errors[member.errors["site"] == 9].assign(site=12)
    frame = error_vs_M([replace(member, sites=sites, errors=errors)])
    assert frame[["site", "relative_rmse"]].to_numpy().tolist() == [["final_norm", 0.1]]


def test_a_way_without_a_point_says_so_and_a_cast_is_none() -> None:
    both = checkpoint("one", "a", 10.0, 0.1, keys=[KEY, OTHER, ("float16", "tensor", "none")])
    known = both.errors["relative_rmse"].where(both.errors["format"] == "int8")
    frame = error_vs_M([replace(both, errors=both.errors.assign(relative_rmse=known))]).set_index("format")
    assert frame["relative_rmse"].notna().to_dict() == {"int8": True, "fp8_e4m3": False}
    assert frame.loc["fp8_e4m3", "verdict"] == "cannot be told: 0 of 8 checkpoints"
