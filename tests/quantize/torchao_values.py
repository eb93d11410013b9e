"""What torchao makes of tensors, for test_against_torchao.py: run in a process of its own that finds torchao.

python torchao_values.py ASKED TENSORS MADE: TENSORS and MADE are .npz files; ASKED is JSON, a list of `[key, format,
granularity, tensor]`. It imports nothing of maxact, so that the two share no code.
"""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import torch

logging.disable(logging.WARNING)  # that its extensions are not built for this torch

import torchao.quantization.quant_primitives as primitives  # noqa: E402
from torchao.prototype.mx_formats.mx_tensor import MXTensor, ScaleCalculationMode  # noqa: E402
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale  # noqa: E402

MX = {"mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp4": torch.float4_e2m1fn_x2}
FLOATS = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}


def made_of(x: torch.Tensor, format: str, granularity: str | None) -> torch.Tensor:
    """x, float32 [rows, channels], quantized and dequantized."""
    if format.startswith("mx"):
        base = next(name for name in MX if format.startswith(name))
        mode = ScaleCalculationMode(format.removeprefix(base).removeprefix("_") or "floor")
        return MXTensor.to_mx(x, MX[base], 32, mode).dequantize(torch.float32)
    if format == "nvfp4":
        whole = per_tensor_amax_to_scale(x.abs().max())
        return NVFP4Tensor.to_nvfp4(x, 16, per_tensor_scale=whole).dequantize(torch.float32)
    block = {"token": (1, x.shape[1]), "sample": tuple(x.shape), "group_32": (1, 32)}[granularity or ""]
    if format in FLOATS:
        scale = primitives._choose_scale_float8(x, list(block), FLOATS[format])
        stored = primitives._quantize_affine_float8(x, scale, FLOATS[format])
        return primitives._dequantize_affine_float8(stored, scale, torch.float32)
    asymmetric = format.endswith("_asymmetric")
    highest = 2 ** (int(format.removesuffix("_asymmetric").removeprefix("int")) - 1) - 1
    lowest = -highest - 1 if asymmetric else -highest
    mapping = primitives.MappingType.ASYMMETRIC if asymmetric else primitives.MappingType.SYMMETRIC
    smallest = torch.finfo(torch.float32).tiny
    scale, zero = primitives.choose_qparams_affine(x, mapping, block, torch.int8, lowest, highest, eps=smallest)
    stored = primitives.quantize_affine(x, block, scale, zero, torch.int8, lowest, highest)
    return primitives.dequantize_affine(
        stored, block, scale, zero, torch.int8, lowest, highest, output_dtype=torch.float32
    )


if __name__ == "__main__":
    asked, given, out = sys.argv[1:]
    tensors = np.load(given)
    found = {}
    for key, format, granularity, name in json.loads(asked):
        found[key] = made_of(torch.from_numpy(tensors[name]), format, granularity).numpy()
    np.savez(out, **found)
