"""The files of exported scales, written whole or not at all.

`quantization_config.json` is a quantization_config of compressed-tensors: static scales per tensor, targeted at exactly the
modules that have one, and a kv_cache_scheme where every layer that caches keys and values has both scales. It says nothing of
weights, which are not quantized here. Its key `maxact`, which compressed-tensors passes over, says what the scales were made
from and what each of them reaches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from maxact.quantize.export import Choice, Scales
from maxact.quantize.formats import FORMATS, Integers
from maxact.store.new_folder import new_folder

NOTES = {
    "scale": "x / scale is rounded and clipped; the threshold follows from the calibration split, the errors are on the "
    "evaluation split, of the input of the module as it was measured",
    "int8": "clipped at -127 as at 127; a runtime that clips at -128 errs no more",
    "smoothquant": "s_j = max|X_j|^alpha / max|W_j|^(1-alpha), 1 where a maximum is 0: divide channel j of what the norm "
    "returns by s_j and multiply column j of the linear layers by it; the static scales are those of the model before that; "
    "reached: SQNR of what the layers return on the evaluation split, both sides quantized, by granularity of the input "
    "(none: it stays as it is), with s and without; where evaluate.smooth of the "
    "study has this alpha",
}
OPTION = "--out"
"""With which a user names the folder."""

PLANTED = "untrained weights with one activation of known value planted into them: says nothing about released models"


def quantization_config(scales: Scales, choice: Choice, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What `compressed_tensors.quantization.QuantizationConfig` accepts, with `maxact` beside it."""
    format = FORMATS[choice.format]
    kind = "int" if isinstance(format.elements, Integers) else "float"
    static = {"num_bits": format.bits, "type": kind, "symmetric": True, "strategy": "tensor", "dynamic": False}
    inputs = (name for name in scales.static if name.endswith(".input_scale"))
    targets = [name.removesuffix(".input_scale") for name in inputs]
    group = {"targets": targets, "weights": None, "input_activations": static, "output_activations": None}
    told = {
        **provenance,
        "format": choice.format,
        "policy": choice.policy,
        "alpha": choice.alpha,
        "notes": NOTES,
        "sites": scales.sites,
        "smoothquant": scales.groups,
        "left_out": scales.left_out,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "dense",
        "quantization_status": "frozen",
        "config_groups": {"group_0": group} if targets else {},
        "kv_cache_scheme": static if scales.kv_cache else None,
        "ignore": [],
        "maxact": told,
    }


def write(folder: Path, scales: Scales, choice: Choice, provenance: Mapping[str, Any]) -> None:
    """Write the three files into a new folder, which appears when they are whole; equal scales give equal bytes.

    Raises:
        UserError: the folder is taken, or cannot be written.
    """
    text = json.dumps(quantization_config(scales, choice, provenance), indent=2, ensure_ascii=False, allow_nan=False)
    with new_folder(folder, OPTION) as scratch:
        save_file(scales.static, scratch / "scales.safetensors")
        save_file(scales.smooth, scratch / "smoothquant.safetensors")
        (scratch / "quantization_config.json").write_text(f"{text}\n", encoding="utf-8")
