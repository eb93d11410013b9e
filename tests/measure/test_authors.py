"""Every field of the authors' result files follows from the tables, by their definitions, and equals theirs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from measure.models import tiny
from measure.test_run import drawn, numbers, wrapped
from oracles import authors

from maxact.histogram import code_values
from maxact.measure.run import measure
from maxact.measurement import Measurement

SITES = ("embedding", "attention_output", "gate", "mlp_output", "residual", "final_norm")
IDENTICAL = {"max", "min", "count", "abs_hist_count", "abs_hist_zero_frac", *authors.QUANTILES}
IDENTICAL |= {f"sun_{name}" for name in ("n_tokens", "n_pass", "t_val", "t_ratio", "peak_abs", "peak_token_median")}
IDENTICAL |= {"sun_max_ratio_abs", "sun_max_ratio_median"}


def activation_stats(measurement: Measurement, site: int) -> dict[str, Any]:
    """Their fields, from the tables."""
    row = measurement.sites.set_index("site").loc[site]
    counts = measurement.histograms[measurement.histograms.site == site]
    values = code_values(row["dtype"])[counts.code.to_numpy()]
    return {
        **{name: row[name] for name in ("mean", "std", "abs_mean", "rms", "max", "min", "count", "abs_median")},
        "sun_peak_abs": row.peak,
        "sun_peak_token_median": row.massive_peak_median,
        "sun_peak_token_ratio": row.massive_peak_ratio,
        **{f"sun_max_ratio{name}": row[f"massive_max_ratio{name}"] for name in ("", "_abs", "_median")},
        "sun_mean_ratio": row.massive_mean_ratio,
        "sun_std_ratio": row.massive_std_ratio,
        "sun_n_tokens": row.massive_tokens,
        "sun_n_pass": row.massive_tokens_passed,
        "sun_t_val": 100.0,
        "sun_t_ratio": 1000.0,
        "abs_q25": row["quantile_0.25"],
        "abs_q75": row["quantile_0.75"],
        "abs_q90": row["quantile_0.9"],
        "abs_q99": row["quantile_0.99"],
        "abs_q999": row["quantile_0.999"],
        "abs_hist_count": counts["count"].sum(),
        "abs_hist_zero_frac": counts["count"][values == 0].sum() / row["count"],
    }


def top5_stats(top: pd.DataFrame) -> dict[str, Any]:
    values = top.sort_values("rank")["value"].astype(float)
    first = values.head(5)
    return {
        "top_k": len(values),
        "topk_abs_mean": values.abs().mean(),
        "topk_signed_mean": values.mean(),
        "top5_abs": first.abs().tolist(),
        "top5_signed": first.tolist(),
        "top5_abs_mean": first.abs().mean(),
        "top5_signed_mean": first.mean(),
    }


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma2", "gpt_oss", "qwen3_5"])
def test_each_field_of_theirs_equals_its_definition_on_whole_tensors(name: str) -> None:
    samples = drawn(11, 5)
    tensors, found = wrapped(tiny(name), samples), measure(tiny(name), samples, list(SITES))
    massive = 0
    for (component, layer), site in numbers(found).items():
        whole = [x for _, _, x in tensors[component, layer]]
        expected, ours = authors.activation_stats(whole), activation_stats(found, site)
        assert ours.keys() == expected.keys()
        for field, value in expected.items():
            if field in IDENTICAL:
                assert ours[field] == value, (component, layer, field)
            else:
                assert ours[field] == pytest.approx(value, rel=1e-6, abs=1e-12), (component, layer, field)
        massive += expected["sun_n_pass"]
        top, theirs = top5_stats(found.top[found.top.site == site]), authors.top5_stats(whole)
        assert top.keys() == theirs.keys()
        for field, value in theirs.items():
            assert top[field] == pytest.approx(value, rel=1e-12, abs=1e-15), (component, layer, field)
    everything = [[x for _, _, x in tensors[at]] for at in numbers(found)]
    first = found.top["value"][found.top["rank"] < 5]
    largest = first.abs().astype(float).sort_values(ascending=False).head(100).tolist()
    assert largest == authors.global_top5_abs(everything)


def test_a_token_that_passes_and_zeros_are_counted_as_theirs_are() -> None:
    """The small models have none: one is given both by a scaled norm and a silent channel."""
    samples, models = drawn(3, 4), [tiny("llama"), tiny("llama")]
    for model in models:
        with torch.no_grad():
            weight = model.get_decoder().norm.weight
            weight.fill_(0.001)
            weight[: len(weight) // 4] = 0
            weight[-1] = 3000.0
    tensors, found = wrapped(models[0], samples), measure(models[1], samples, ["final_norm"])
    whole = [x for _, _, x in tensors["final_norm", None]]
    expected, ours = authors.activation_stats(whole), activation_stats(found, 0)
    assert expected["sun_n_pass"] > 0
    assert expected["abs_hist_zero_frac"] > 0.2
    for field in IDENTICAL:
        assert ours[field] == expected[field], field
