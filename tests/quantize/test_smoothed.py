"""What SmoothQuant reaches: against plain loops, on hostile input, and in passes of real architectures."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from measure.models import tiny
from oracles.smoothing import layer_errors

from maxact.checkpoints.folder import weight_files
from maxact.measure.run import Sample, measure
from maxact.quantize.formats import FORMATS
from maxact.quantize.smoothed import GRANULARITIES, SMOOTHING, Behind, errors_of, smoothing_rows
from maxact.quantize.smoothing import Smoothing, smoothing_scales, smoothings_of
from maxact.quantize.weights import Weights
from maxact.sites.components import COMPONENTS
from maxact.sites.find import find_sites

TRIED = ["int8", "int4", "fp8_e4m3"]


def drawn(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of an input and the weights of a layer, bfloat16."""
    generator = torch.Generator().manual_seed(len(kind))
    x, w = torch.randn(7, 6, generator=generator), torch.randn(5, 6, generator=generator)
    if kind == "a massive channel":
        x[:, 2] *= 300
    elif kind == "zeros":
        x[:, 1], w[:, 4], x[3] = 0, 0, 0
    elif kind == "subnormal":
        x *= 1e-36
    return x.bfloat16(), w.bfloat16()


def smoothed(x: torch.Tensor, w: torch.Tensor, alpha: float) -> Smoothing:
    x_C, w_C = x.abs().amax(0).double().numpy(), w.abs().amax(0).double().numpy()
    scale_C = smoothing_scales(x_C, w_C, alpha)
    assert isinstance(scale_C, np.ndarray)
    return Smoothing("norm", ("linear",), x_C, w_C, scale_C)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["normal", "a massive channel", "zeros", "subnormal"])
def test_errors_are_those_of_plain_loops(kind: str, alpha: float | None) -> None:
    """With a calibration split that is not all that comes: some of it is clipped."""
    x, w = drawn(kind)
    calibrated = x[:5]
    how = None if alpha is None else smoothed(calibrated, w, alpha)
    layers = Behind(x.float(), w.float(), float(calibrated.abs().max()))
    rows = list(errors_of(layers, TRIED, how))
    assert [(row["format"], row["granularity"]) for row in rows] == [(f, g) for f in TRIED for g in GRANULARITIES]
    scale_C = [1.0] * 6 if how is None else how.scale_C.tolist()
    largest = layers.largest if how is None else how.largest
    for row in rows:
        given = x.float().tolist(), w.float().tolist(), scale_C
        expected = layer_errors(*given, FORMATS[row["format"]], row["granularity"], largest)
        found = row["relative_rmse"], row["output_relative_rmse"], row["clip_rate"]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9), row
        assert row["threshold"] == (largest if row["granularity"] == "tensor" else None)


def test_a_massive_channel_is_what_smoothing_mends() -> None:
    x, w = drawn("a massive channel")
    layers = Behind(x.float(), w.float() * torch.tensor([1, 1, 0.01, 1, 1, 1]), float(x.abs().max()))
    plain, how = (
        [row["output_sqnr_db"] for row in errors_of(layers, ["int8"], one)] for one in (None, smoothed(x, w, 0.5))
    )
    assert how[1] > plain[1] + 10  # a static scale of the tensor


def test_no_rows_no_power_and_no_calibration_have_no_errors() -> None:
    w = torch.ones(2, 3)
    empty = list(errors_of(Behind(torch.empty(0, 3), w, 1.0), ["int8"]))
    assert all(math.isnan(row["output_relative_rmse"]) and row["clip_rate"] == 0 for row in empty)
    uncalibrated = {row["granularity"]: row for row in errors_of(Behind(torch.ones(2, 3), w, 0.0), ["int8"])}
    assert math.isnan(uncalibrated["tensor"]["relative_rmse"])
    assert not math.isnan(uncalibrated["token"]["output_relative_rmse"])
    zeros = list(errors_of(Behind(torch.zeros(2, 3), w, 0.0), ["int8"]))
    assert all(math.isnan(row["sqnr_db"]) for row in zeros)


SAMPLES = [Sample(0, "calibration", tuple(range(5, 40))), Sample(1, "evaluation", tuple(range(60, 4, -3)))]


class Saved:
    """A tiny checkpoint in a folder, and its measurement."""

    def __init__(self, name: str, folder: Path) -> None:
        self.model: Any = tiny(name)
        self.model.save_pretrained(folder)
        self.folder, self.found = folder, measure(self.model, SAMPLES, list(COMPONENTS))

    def rows(self, alphas: list[float], channels: pd.DataFrame | None = None) -> pd.DataFrame:
        by_alpha = smoothings_of(
            self.folder, self.found.sites, self.found.channels if channels is None else channels, alphas
        )
        sites = find_sites(self.model.get_decoder(), list(COMPONENTS))
        weights = Weights(weight_files(self.folder))
        rows, passed = smoothing_rows(self.model, SAMPLES[1:], sites, by_alpha, weights, ["int8"])
        assert passed == (SAMPLES[1:] if pd.Series([row.get("reason") for row in rows]).isna().any() else [])
        return pa.Table.from_pylist(rows, schema=SMOOTHING).to_pandas()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    return functools.cache(lambda name: Saved(name, tmp_path_factory.mktemp(name)))


def test_every_layer_behind_a_norm_is_told_with_what_it_is_given(saved: Callable[[str], Saved]) -> None:
    one = saved("llama")
    rows = one.rows([0.5, 0.8])
    assert list(zip(rows.component, rows.layer, strict=True)) == [
        (component, layer) for layer in range(3) for component in ("attention_input", "mlp_input") for _ in range(9)
    ]
    assert rows.alpha.fillna(-1).tolist() == 6 * ([-1.0] * 3 + [0.5] * 3 + [0.8] * 3)
    caught: list[torch.Tensor] = []
    layer = one.model.model.layers[1].mlp
    handle = layer.register_forward_pre_hook(lambda _, x: caught.append(x[0][0].float()))
    with torch.inference_mode():
        one.model(torch.tensor([SAMPLES[1].token_ids]))
    handle.remove()
    weight_OC = torch.cat([layer.gate_proj.weight, layer.up_proj.weight]).detach().float()
    mine = rows[(rows.component == "mlp_input") & (rows.layer == 1)].reset_index()
    for _, row in mine[mine.granularity == "token"].iterrows():
        how = smoothings_of(one.folder, one.found.sites, one.found.channels, [row.alpha])[row.alpha]
        scale_C = [1.0] * 32 if math.isnan(row.alpha) else how["mlp_input", 1].scale_C.tolist()  # type: ignore[union-attr]
        expected = layer_errors(caught[0].tolist(), weight_OC.tolist(), scale_C, FORMATS["int8"], "token", 0.0)
        assert (row.relative_rmse, row.output_relative_rmse) == pytest.approx(expected[:2], rel=1e-4)
        assert (row.tokens, row.tokens_left_out) == (len(SAMPLES[1].token_ids), 0)


def test_what_is_not_smoothed_has_the_reason(saved: Callable[[str], Saved]) -> None:
    """A channel that the calibration split has no value of; and a mixture of experts, whose router takes what the norm gives."""
    one = saved("llama")
    channels = one.found.channels.copy()
    first = channels.site == one.found.sites[one.found.sites.component == "mlp_input"].site.min()
    channels.loc[first & (channels.channel == 3), "abs_max_calibration"] = np.nan
    left = one.rows([0.5], channels).dropna(subset="reason")
    assert list(zip(left.component, left.layer, left.reason, strict=True)) == [
        ("mlp_input", 0, "channel 3 of the activations has no finite maximum (1 of 32 channels)")
    ]
    assert left[["format", "tokens", "output_sqnr_db"]].isna().all(axis=None)
    moe = saved("qwen3_moe").rows([0.5])
    assert "goes to" in moe.dropna(subset="reason").reason.iloc[0]
    assert not moe.dropna(subset="format").empty


def test_tokens_that_are_not_finite_are_left_out_and_counted(saved: Callable[[str], Saved]) -> None:
    one = saved("llama")
    embedding_VC = one.model.model.embed_tokens.weight.data
    kept = embedding_VC.clone()
    embedding_VC[SAMPLES[1].token_ids[-1]] = math.nan
    rows = one.rows([0.5])
    embedding_VC.copy_(kept)
    # What is masked becomes NaN too after the first attention: zero times NaN.
    first, others = rows[rows.site == rows.site.min()], rows[rows.site > rows.site.min()]
    assert set(first.tokens_left_out) == {1}
    assert set(others.tokens) == {0}
    assert first.output_sqnr_db.notna().all()
    assert others.output_sqnr_db.isna().all()
