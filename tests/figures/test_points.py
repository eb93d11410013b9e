"""Figures of errors and subsets: what is said of their axes is true of what they show."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from figures.test_figures import STYLE, inside, laid_out
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from maxact.figures import bootstrap
from maxact.figures.style import PAGE_INCHES, styled

MARKS: dict[str, Any] = {"kind": "real", "family": "qwen3", "weights": "as published", "nonfinite": 0}
ERROR = {
    **MARKS,
    "format": "int8",
    "granularity": "tensor",
    "spearman": 0.1,
    "p_holm": 0.5,
    "known": True,
    "verdict": "no link seen",
}


def errors(ways: list[str], policies: list[str]) -> pd.DataFrame:
    """Two checkpoints, the second with its error at the final norm; the policies' errors are decades apart."""
    rows = [
        {**ERROR, "checkpoint": name, "format": format, "policy": policy, "M": M, "site": site,
         "relative_rmse": 0.02 * 100**number}
        for name, M, site in (("first", 200.0, "residual@3"), ("second", 3000.0, "final_norm"))
        for format in ways
        for number, policy in enumerate(policies)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


@pytest.mark.parametrize("formats", [["int8"], ["int8", "int4"], ["int8", "int4", "nvfp4"]])
def test_the_errors_of_any_number_of_formats_fill_the_figure(formats: list[str]) -> None:
    figure, _ = laid_out("error_vs_M", {"error_vs_M.parquet": errors(formats, ["max"])})
    inside(figure)
    right = max(axes.get_window_extent().x1 for axes in figure.axes)
    assert right > 0.9 * figure.bbox.x1
    assert "at another site: second at final_norm" in words(figure)
    assert "first at" not in words(figure)


@pytest.mark.parametrize("verdicts", [["no link seen"], ["rises with M", "no link seen"]])
def test_every_format_granularity_and_policy_fit_a_page(verdicts: list[str]) -> None:
    formats = ["int8", "int8_asymmetric", "int4", "int4_asymmetric", "fp8_e4m3", "fp8_e5m2"]
    finer = [
        errors(formats[::2], ["max"]).assign(granularity=name) for name in ("sample", "channel", "token", "group_16")
    ]
    blocks = errors(["mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "nvfp4"], ["max"]).assign(granularity="block")
    data = pd.concat([errors(formats, ["max", "quantile_0.999", "mse", "entropy"]), *finer, blocks], ignore_index=True)
    data["verdict"] = [verdicts[row % len(verdicts)] for row in pd.factorize(data["granularity"] + data["policy"])[0]]
    figure, _ = laid_out("error_vs_M", {"error_vs_M.parquet": data})
    inside(figure)
    assert figure.get_size_inches()[1] <= PAGE_INCHES
    assert len(figure.axes) == 6 + 3 + 1
    assert ("max \N{UPWARDS ARROW}" in words(figure)) == (len(verdicts) > 1)


def test_no_two_ways_of_a_panel_look_or_are_called_alike() -> None:
    """Six granularities, of which five have three policies."""
    finer, policies = ("sample", "token", "group_16", "group_32", "group_128"), ("max", "mse", "quantile_0.99")
    ways = [(name, policy) for name in finer for policy in policies]
    parts = [errors(["int8"], [policy]).assign(granularity=name) for name, policy in [*ways, ("channel", "max")]]
    figure, _ = laid_out("error_vs_M", {"error_vs_M.parquet": pd.concat(parts, ignore_index=True)})
    inside(figure)
    (axes,) = figure.axes
    lines = axes.get_lines()
    looks = {(line.get_marker(), line.get_color(), line.get_markerfacecolor()) for line in lines}
    assert len(looks) == len({line.get_label() for line in lines}) == len(lines) == 16
    parts = [errors(["mxfp4", "nvfp4"], [policy]).assign(granularity="block") for policy in ("max", "mse")]
    figure, _ = laid_out("error_vs_M", {"error_vs_M.parquet": pd.concat(parts, ignore_index=True)})
    (axes,) = figure.axes
    called = {line.get_label() for line in axes.get_lines()}
    assert {"mxfp4, max", "mxfp4, mse", "nvfp4, max", "nvfp4, mse"} == called


def test_quantizers_that_differ_in_the_policy_alone_are_told_apart() -> None:
    plain = {**MARKS, "checkpoint": "a", "tensors": "linear_inputs", "smooth": math.nan, "note": None}
    asked = [("nvfp4", "block", "max"), ("nvfp4", "block", "mse"), ("int8", "token", "mse"), ("int8", "tensor", "mse")]
    rows = [
        plain
        | {"format": format, "granularity": granularity, "policy": policy, "ratio": 1.0 + at, "median_sqnr_db": at}
        for at, (format, granularity, policy) in enumerate(asked)
    ]
    figure, texts = laid_out("perplexity_cost", {"perplexity.parquet": pd.DataFrame(rows)})
    inside(figure)
    assert {"nvfp4, blocks", "nvfp4, blocks, mse", "int8, by token, mse", "int8, mse"} <= set(texts)


def test_policies_have_the_same_axis() -> None:
    figure, _ = laid_out("int8_vs_M", {"int8_vs_M.parquet": errors(["int8"], ["max", "quantile_0.999"])})
    assert [axes.get_ylim() for axes in figure.axes] == [(0.01, 10.0)] * 2
    assert "at another site: second at final_norm" in words(figure)


def test_a_checkpoint_whose_massive_tokens_are_not_counted_is_not_said_to_have_no_finite_activation() -> None:
    counted = {**MARKS, "checkpoint": "first", "M": 200.0, "residual_share": 0.01, "any_share": 0.02}
    data = pd.DataFrame([counted, {**counted, "checkpoint": "second", "residual_share": None}])
    figure, _ = laid_out("massive_coverage", {"massive_coverage.parquet": data})
    inside(figure)
    assert "not shown, massive tokens are not counted: second" in words(figure)


@pytest.mark.parametrize(("shares", "low"), [([0.83, 1.0], 0.8), ([0.8, 1.1], 0.75), ([1.0], 0.95), ([0.0, 1.0], 0.0)])
def test_the_shares_of_subsets_begin_at_the_twentieth_below_the_smallest(shares: list[float], low: float) -> None:
    data = pd.DataFrame([{**MARKS, "checkpoint": "a", "size": 10, "share": share} for share in shares])
    with styled(STYLE):
        (axes,) = bootstrap.draw({"subsets.parquet": data}, STYLE).axes
    assert axes.get_xlim()[0] == pytest.approx(low)
    assert max(shares) < axes.get_xlim()[1]


def test_the_maxima_of_27_checkpoints_fit_a_page() -> None:
    data = pd.DataFrame(
        [{**MARKS, "checkpoint": f"c{number}", "component": "residual", "layer": 3, "M": 100.0} for number in range(27)]
    )
    figure, _ = laid_out("global_maxima", {"global_maxima.csv": data})
    assert figure.get_figheight() < 9
    inside(figure)
    texts = [text for text in figure.axes[0].texts if text.get_text().startswith("100\n")]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 27
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


def test_the_legend_tells_as_many_policies_apart_as_the_curves_have() -> None:
    row = {**MARKS, "checkpoint": "a", "reason": "peak", "site": "residual@1", "format": "int8"}
    policies = [f"quantile_0.{number}" for number in range(1, 10)]
    rows = [row | {"kind_of_row": "policy", "policy": policy, "share": 0.5, "sqnr_db": 10.0} for policy in policies]
    rows.append(row | {"kind_of_row": "curve", "share": 1.0, "sqnr_db": 20.0})
    figure, _ = laid_out("clipping_curve", {"clipping_curves.parquet": pd.DataFrame(rows)})
    inside(figure)
    (legend,) = figure.legends
    told = {
        text.get_text(): (handle.get_marker(), handle.get_markerfacecolor() == "white")
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        if isinstance(handle, Line2D) and handle.get_marker() != "None"
    }
    assert list(told) == [policy.replace("_", " ") for policy in policies]
    assert len(set(told.values())) == len(policies)
    marks = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert [(mark.get_marker(), mark.get_markerfacecolor() == "white") for mark in marks] == list(told.values())


@pytest.mark.parametrize("drawn", [True, False])
def test_every_format_is_a_panel_or_is_named_with_why_not(drawn: bool) -> None:
    row = {**MARKS, "checkpoint": "a", "tensors": "residual stream", "layer": 0, "layers": 1}
    values = {"float16": math.inf, "fp8_e4m3": math.nan, **({"int8": 30.0} if drawn else {})}
    data = pd.DataFrame([row | {"format": name, "sqnr_db": value} for name, value in values.items()])
    figure, _ = laid_out("error_by_site_residual", {"error_by_site.parquet": data})
    assert len(figure.axes) == (2 if drawn else 0)  # a panel, and the colours
    assert "exact at every site: float16" in words(figure)
    assert "not defined at any site: fp8_e4m3" in words(figure)


def test_the_names_of_those_that_have_no_point_stay_inside_the_figure() -> None:
    names = [f"Some-Long-Checkpoint-Name-{number}B" for number in range(27)]
    row = {**MARKS, "residual_share": 0.1, "any_share": 0.1, "relative_rmse": 0.1, "site": "residual@1"}
    data = pd.DataFrame(
        [row | {"checkpoint": name, "M": 100.0 if at < 3 else math.nan} for at, name in enumerate(names)]
    )
    for name, frame in (("massive_coverage", data), ("int8_vs_M", data.assign(format="int8", policy="max"))):
        figure, _ = laid_out(name, {f"{name}.parquet": frame})
        inside(figure)
        assert all(name in words(figure) for name in names)
