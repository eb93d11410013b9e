"""The stage `quantize`, from stored tables to the stored table; and on activations of a real model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from quantize.measured import assert_same_as_direct, outputs_of, tables

from maxact.measurement import SCHEMAS, Measurement
from maxact.quantize.stage import BITS, CURVES, SCHEMA, compute
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store

POLICIES = ["max", "quantile_0.999"]


def job_on(measurement: Measurement, folder: Path) -> Job:
    """A job of the stage on a stored measurement."""
    store = Store(folder / "store")
    objects = {name: store.put(file) for name, file in measurement.write(folder / "tables").items()}
    manifest = Manifest("measure", "toy", "0" * 64, {}, objects, {})
    scratch = folder / "scratch"
    scratch.mkdir()
    parameters = {"formats": ["int8"], "policies": POLICIES, "sqnr_targets": [20.0, 200.0]}
    uses = {"measure": ("sites.parquet", "histograms.parquet")}
    return Job("quantize", "toy", parameters, {"measure": manifest}, uses, store, scratch)


def empty(*names: str) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(columns=SCHEMAS[name].names) for name in names}


def test_errors_are_stored_by_site_and_policy(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    made = {}
    for layer in range(2):
        x = torch.randn(30, 16, generator=generator).to(torch.bfloat16)
        x[3, 5] = 300.0 if layer else 3.0
        made["residual", layer] = {"calibration": [x], "evaluation": [x[:20]]}
    made["final_norm", None] = made["residual", 0]
    sites, histograms = tables(made)
    product = compute(
        job_on(Measurement(sites, histograms, **empty("samples", "channels", "top", "classes", "experts")), tmp_path)
    )
    stored = pq.read_table(product.files["errors.parquet"])
    assert stored.schema.remove_metadata().equals(SCHEMA)
    assert stored["policy"].to_pylist() == POLICIES * 3
    assert stored["layer"].to_pylist() == [0, 0, 1, 1, None, None]
    assert product.summary == {"sites": 3}
    bits = pq.read_table(product.files["bits.parquet"])
    assert bits.schema.equals(BITS)
    assert bits["target_db"].to_pylist() == [20.0, 200.0] * 6
    assert bits["bits"].is_null().to_pylist() == [False, True] * 6
    assert pq.read_schema(product.files["curves.parquet"]).equals(CURVES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_histogram_errors_equal_direct_ones_on_activations_of_a_model(dtype: torch.dtype) -> None:
    """Every module's output in a small Llama with a large channel, caught by a plain hook."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(3)
    size = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaModel(LlamaConfig(num_hidden_layers=2, vocab_size=50, **size)).eval()
    with torch.no_grad():
        model.layers[0].mlp.down_proj.weight[7] *= 3000
    names = [name for name, _ in model.named_modules() if name in ("embed_tokens", "norm") or name.count(".") in (1, 3)]
    calibration, evaluation = (outputs_of(model.to(dtype), names, torch.randint(50, (2, 40))) for _ in range(2))
    assert len(calibration) >= 10
    for name in calibration:
        assert_same_as_direct({"calibration": calibration[name], "evaluation": evaluation[name]}, POLICIES)
