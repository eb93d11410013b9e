"""INT-8 errors of a trained model's activations: from the stored measurement, and from the tensors themselves."""

from __future__ import annotations

from pathlib import Path

import torch
from quantize.measured import assert_rows_agree, outputs_of

from maxact.checkpoints.load import load_model
from maxact.measure.run import Sample, measure
from maxact.quantize.stage import SCHEMA, site_errors, sixteen_bits, splits_of

POLICIES = ["max", "quantile_0.999"]
SAMPLES = {"calibration": [1, 504, 3575, 314, 253, 6330, 28], "evaluation": [1, 19556, 28, 905, 17, 198, 504, 2]}
MODULES = {"attention_output": "self_attn", "gate": "mlp.gate_proj", "mlp_output": "mlp", "residual": ""}


def test_errors_of_the_stored_measurement_equal_direct_ones_at_every_site(smollm2: Path) -> None:
    model = load_model(smollm2)
    samples = [Sample(number, split, tuple(ids)) for number, (split, ids) in enumerate(SAMPLES.items())]
    found = measure(model, samples, [*MODULES, "embedding", "final_norm"])
    rows = site_errors(sixteen_bits(found.sites), splits_of(found.histograms), ["int8"], POLICIES)

    layers = range(model.config.num_hidden_layers)
    names = {(part, layer): f"layers.{layer}.{name}".rstrip(".") for part, name in MODULES.items() for layer in layers}
    modules = {("embedding", None): "embed_tokens", ("final_norm", None): "norm", **names}
    caught = {
        split: outputs_of(model.get_decoder(), list(modules.values()), torch.tensor([ids]))
        for split, ids in SAMPLES.items()
    }
    assert {(row["component"], row["layer"]) for row in rows} == set(modules)
    assert len(rows) == 122 * len(POLICIES)
    for row in rows:
        assert list(row) == SCHEMA.names
        name = modules[row["component"], row["layer"]]
        assert_rows_agree(row, caught["calibration"][name], caught["evaluation"][name])
    peak = max(row["threshold"] for row in rows if row["component"] == "residual")
    assert peak > 1000  # a massive activation is among them, or the comparison says little
