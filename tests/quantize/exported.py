"""Tiny checkpoints of real architectures whose scales are exported: in folders, measured, with what their layers are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from measure.models import tiny
from transformers import AutoModelForCausalLM, OPTConfig, Phi3Config, PhiConfig

from maxact.checkpoints.folder import weight_files
from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.quantize.export import Choice, Scales, scales_of
from maxact.quantize.smoothed import SMOOTHING
from maxact.quantize.weights import Weights
from maxact.quantize.wiring import wiring
from maxact.sites.components import COMPONENTS

SAMPLES = [
    Sample(0, "calibration", [5, 9, 2, 40, 7, 3]),
    Sample(1, "calibration", [11, 4, 60]),
    Sample(2, "evaluation", [8, 33, 21, 6, 90]),
    Sample(3, "rest", [1, 2]),
]
CALIBRATION = [sample.token_ids for sample in SAMPLES if sample.split == "calibration"]
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": None,
}  # fmt: skip
MAX = Choice("int8", "max", 0.5)


def model_of(name: str) -> Any:
    configs: dict[str, Callable[[], Any]] = {
        "phi3": lambda: Phi3Config(**SIZES),
        "phi": lambda: PhiConfig(**SIZES),
        "opt": lambda: OPTConfig(
            vocab_size=96, hidden_size=32, ffn_dim=56, num_hidden_layers=1, num_attention_heads=4, word_embed_proj_dim=32,
            max_position_embeddings=64, do_layer_norm_before=False,
        ),
    }  # fmt: skip
    if name not in configs:
        return tiny(name)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(configs[name](), dtype=torch.bfloat16).eval()


class Made:
    """A tiny checkpoint in a folder, and its measurement with every component."""

    def __init__(self, name: str, folder: Path) -> None:
        self.model = model_of(name)
        self.model.save_pretrained(folder)
        self.folder = folder
        self.measurement = measure(self.model, SAMPLES, list(COMPONENTS))

    def scales(self, choice: Choice = MAX, measurement: Measurement | None = None) -> Scales:
        weights = Weights(weight_files(self.folder))
        tables = measurement or self.measurement
        fed = wiring(self.folder, weights.names)
        return scales_of(tables.sites, tables.histograms, tables.channels, fed, weights, choice)

    def given(self) -> dict[str, list[torch.Tensor]]:
        """What each linear layer is given for each calibration sample, caught by plain hooks, by the layer's name."""
        caught: dict[str, list[torch.Tensor]] = {}
        linears = {name: one for name, one in self.model.named_modules() if isinstance(one, torch.nn.Linear)}
        handles = [
            one.register_forward_pre_hook(lambda _, x, name=name: caught.setdefault(name, []).append(x[0][0].clone()))
            for name, one in linears.items()
        ]
        with torch.inference_mode():
            for ids in CALIBRATION:
                self.model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        return {name: xs for name, xs in caught.items() if name != "lm_head"}

    def cached(self) -> dict[str, list[torch.Tensor]]:
        """What the model's own cache holds after each calibration sample, by the name of its scale."""
        caught: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for ids in CALIBRATION:
                cache = self.model(torch.tensor([ids]), use_cache=True).past_key_values
                for number, layer in enumerate(cache.layers):
                    name = f"model.layers.{number}.self_attn"
                    caught.setdefault(f"{name}.k_scale", []).append(layer.keys.clone())
                    caught.setdefault(f"{name}.v_scale", []).append(layer.values.clone())
        return caught


def reached(alpha: float) -> pd.DataFrame:
    """As `smoothing.parquet`, for one site."""
    row = {"component": "mlp_input", "layer": 1, "format": "int8", "granularity": "tensor"}
    rows = [row | {"alpha": None, "output_sqnr_db": 20.0}, row | {"alpha": alpha, "output_sqnr_db": 31.5}]
    return pa.Table.from_pylist(rows, schema=SMOOTHING).to_pandas()
