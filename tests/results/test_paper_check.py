"""Three methods side by side: each row is what its function finds on its histogram."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from quantize.measured import tables
from quantize.test_errors import hostile
from results.members import planted, real

from maxact.quantize.paper_check import linear_quantile
from maxact.results.member import FirstLines, Member
from maxact.results.paper_check import EXACT, METHODS, STRATIFIED, THEIRS, paper_check, paper_check_sites

DOMAINS = {
    "first_lines": {"calibration": {"code": 48}, "evaluation": {"chinese": 19, "code": 77}},
    "stratified": {"calibration": {"code": 24, "math": 24}, "evaluation": {"code": 48, "math": 48}},
}


def seen(calibration: torch.Tensor, evaluation: torch.Tensor, layer: int | None = 11) -> FirstLines:
    _, rows = tables({("residual", 0): {"calibration": [calibration], "evaluation": [evaluation]}})
    rows = rows.assign(split=rows["split"].map({0: "calibration", 1: "evaluation"}))
    return FirstLines(rows, {"layer": layer, "dtype": "bfloat16", "domains": DOMAINS})


def checked(quantile: float = 0.999, bits: int = 8) -> tuple[Member, pd.DataFrame]:
    x = hostile("one massive value", "bfloat16")
    member = replace(real(), first_lines=seen(x, x[:20]))
    return member, paper_check([planted(), member], 2048, bits, quantile)


def test_each_checkpoint_with_the_check_has_a_row_for_each_policy_and_method() -> None:
    _, frame = checked()
    assert frame.checkpoint.unique().tolist() == [real().name]
    assert frame.site.unique().tolist() == ["residual@11"]
    told = list(zip(frame.policy, frame.method, strict=True))
    assert told == [(policy, method) for policy in ("max", "quantile_0.999") for method in METHODS]


def test_their_threshold_is_bounded_and_the_exact_one_lies_within_the_bound() -> None:
    member, frame = checked(0.9)
    rows = frame[frame.policy == "quantile_0.9"].set_index("method")
    lines = member.first_lines
    assert lines is not None
    theirs = linear_quantile(*lines.of("calibration"), "bfloat16", 0.9, 2048)
    assert (rows.threshold[THEIRS], rows.bin[THEIRS]) == (theirs.value, theirs.bin)
    assert theirs.at_least <= rows.threshold[EXACT] < rows.quantile_below[THEIRS]
    assert rows.note[THEIRS] == "threshold 0: left out by their method"
    assert pd.isna(rows.relative_rmse[THEIRS])
    assert rows.relative_rmse[EXACT] > 0


def test_the_stratified_row_is_that_of_the_stored_errors() -> None:
    member, frame = checked()
    errors = member.errors
    here = errors[(errors.component == "residual") & (errors.layer == 11)].set_index("policy")
    rows = frame[frame.method == STRATIFIED].set_index("policy")
    for policy in ("max", "quantile_0.999"):
        assert rows.relative_rmse[policy] == here.relative_rmse[policy]
        assert rows.threshold[policy] == here.threshold[policy]
    _, other = checked(bits=6)
    assert set(other[other.method == STRATIFIED].note) == {
        f"int6 with {policy} is not in the study's quantize section" for policy in ("max", "quantile_0.999")
    }


def test_the_domains_of_each_set_are_written_the_largest_first() -> None:
    _, frame = checked()
    assert frame[frame.method == THEIRS].evaluation_domains.unique().tolist() == ["code 77, chinese 19"]
    assert frame[frame.method == STRATIFIED].calibration_domains.unique().tolist() == ["code 24, math 24"]


@pytest.mark.parametrize(("layer", "dtype", "note"), [(None, "bfloat16", "no finite"), (11, "float32", "float32")])
def test_what_cannot_be_told_is_said(layer: int | None, dtype: str, note: str) -> None:
    x = hostile("normal", "bfloat16")
    lines = seen(x, x, layer)
    member = replace(real(), first_lines=replace(lines, summary={**lines.summary, "dtype": dtype}))
    (said,) = paper_check([member], 2048, 8, 0.999).note
    assert note in said


def test_without_the_check_the_table_is_empty_with_its_columns() -> None:
    frame = paper_check([real(), planted()], 2048, 8, 0.999)
    assert frame.empty
    assert {"bin", "quantile_below", "evaluation_domains"} < set(frame.columns)


def at_sites(member: Member, quantile: float = 0.999, bits: int = 8) -> pd.DataFrame:
    return paper_check_sites([planted(), member], 2048, bits, quantile)


def test_every_measured_site_has_a_row_with_the_stored_errors() -> None:
    member, _ = checked()
    frame = at_sites(member)
    measured = member.sites[member.sites.status == "measured"]
    assert len(frame) == len(measured) > 10
    assert frame.checkpoint.unique().tolist() == [real().name]
    errors = member.errors[member.errors["format"] == "int8"].set_index(["site", "policy"])
    for number, row in zip(measured.site, frame.to_dict("records"), strict=True):
        for policy, prefix in (("max", "max"), ("quantile_0.999", "clip")):
            for name in ("threshold", "relative_rmse", "sqnr_db"):
                found, expected = row[f"{prefix}_{name}"], errors.loc[(number, policy), name]
                assert found == expected or (pd.isna(found) and pd.isna(expected))
        assert row["clip_rate"] == errors.loc[(number, "quantile_0.999"), "clip_rate"]


def test_the_authors_method_stands_at_the_peak_alone() -> None:
    member, table = checked()
    frame = at_sites(member)
    peak = frame[frame.peak]
    assert peak.site.tolist() == ["residual@11"]
    theirs = table[table.method == THEIRS].set_index("policy")
    for prefix, policy in (("max", "max"), ("clip", "quantile_0.999")):
        for name in ("threshold", "relative_rmse", "sqnr_db"):
            pd.testing.assert_series_equal(
                peak[f"authors_{prefix}_{name}"], theirs.loc[[policy], name], check_names=False, check_index=False
            )
    assert frame[~frame.peak].filter(like="authors_").isna().all(axis=None)


def test_other_errors_turn_what_is_better() -> None:
    member, _ = checked()
    site = member.sites[member.sites.status == "measured"].site.iloc[3]
    for gain, expected in ((1.0, "clip"), (-1.0, "max"), (0.0, "equal")):
        errors = member.errors.copy()
        here = (errors.site == site) & (errors["format"] == "int8")
        errors.loc[here & (errors.policy == "max"), "sqnr_db"] = 20.0
        errors.loc[here & (errors.policy == "quantile_0.999"), "sqnr_db"] = 20.0 + gain
        assert at_sites(replace(member, errors=errors)).better.iloc[3] == expected
    errors.loc[here, "sqnr_db"] = float("nan")
    assert pd.isna(at_sites(replace(member, errors=errors)).better.iloc[3])


def test_a_site_without_stored_errors_says_why() -> None:
    member, _ = checked()
    absent = "int8 with quantile_0.99 is not in the study's quantize section"
    frame = at_sites(member, 0.99)
    assert set(frame[~frame.peak].note) == {absent}
    # Nearly all of the first lines is in bin 0, whose lower end is no threshold for the authors' method.
    left_out = "authors' method with quantile_0.99: threshold 0: left out by their method"
    assert frame[frame.peak].note.tolist() == [f"{absent}; {left_out}"]
    wide = replace(member, sites=member.sites.assign(dtype="float32"), errors=member.errors.iloc[:0])
    frame = at_sites(wide)
    assert set(frame[~frame.peak].note) == {"the tensor is float32, its histogram is of rounded values"}
    assert frame.better.isna().all()


def test_without_the_check_no_site_has_a_row() -> None:
    frame = paper_check_sites([real(), planted()], 2048, 8, 0.999)
    assert frame.empty
    assert {"better", "authors_clip_sqnr_db"} < set(frame.columns)
