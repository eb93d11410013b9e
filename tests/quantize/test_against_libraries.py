"""Quantize-dequantize agrees bit by bit with implementations of others, on every 16-bit pattern."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize

from maxact.histogram import code_values, finite_codes
from maxact.quantize.compiled import to_grid
from maxact.quantize.formats import E2M1, E2M3, E3M2, E4M3, E5M2, FORMATS
from maxact.quantize.quantizers import quantizer, reconstruct

DTYPES = ["bfloat16", "float16"]
GRIDS = {
    "float8_e4m3fn": E4M3,
    "float8_e5m2": E5M2,
    "float6_e2m3fn": E2M3,
    "float6_e3m2fn": E3M2,
    "float4_e2m1fn": E2M1,
}


def values(dtype: str) -> np.ndarray:
    return code_values(dtype)[finite_codes(dtype)].astype(np.float32)


def thresholds(dtype: str) -> list[float]:
    """From the smallest normal to the largest value, few of them powers of two."""
    occurring = np.unique(np.abs(values(dtype)))
    normal = occurring[occurring >= (2.0**-100 if dtype == "bfloat16" else 2.0**-14)]
    return [float(x) for x in normal[:: len(normal) // 60]]


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    """The same float32 patterns; a zero may have either sign, as libraries that store integers lose it."""
    both_zero = (found == 0) & (expected == 0)
    return bool(((found.view(np.uint32) == expected.view(np.uint32)) | both_zero).all())


@pytest.mark.parametrize("name", GRIDS)
def test_elements_are_those_of_ml_dtypes(name: str) -> None:
    """All float32 that are half-way between two neighbours, a bit beside, and all 16-bit patterns within the range."""
    grid, dtype = GRIDS[name], np.dtype(getattr(ml_dtypes, name))
    levels = np.arange(256 if grid.bits == 8 else 2**grid.bits, dtype=np.uint8).view(dtype).astype(np.float32)
    levels = np.unique(levels[np.isfinite(levels)])
    assert levels[-1] == grid.largest
    middles = ((levels[1:].astype(np.float64) + levels[:-1]) / 2).astype(np.float32)
    x = np.concatenate(
        [levels, middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))]
    )
    x = np.concatenate([x, *(values(dtype)[np.abs(values(dtype)) <= grid.largest] for dtype in DTYPES)])
    found = np.array([to_grid(np.float64(value), grid.mantissa, grid.smallest_exponent) for value in x])
    assert same_bits(found.astype(np.float32), np.abs(x.astype(dtype).astype(np.float32)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("format", "kind"), [("fp8_e4m3", torch.float8_e4m3fn), ("fp8_e5m2", torch.float8_e5m2)])
def test_scaled_float8_is_that_of_torch(format: str, kind: torch.dtype, dtype: str) -> None:
    x, largest = torch.from_numpy(values(dtype)), torch.finfo(kind).max
    for threshold in thresholds(dtype):
        scale = torch.tensor(threshold, dtype=torch.float32) / largest
        expected = (x / scale).clamp(-largest, largest).to(kind).float() * scale
        assert same_bits(reconstruct(x.numpy(), quantizer(FORMATS[format], threshold)), expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", ["float16", "bfloat16"])
def test_casts_are_those_of_torch_and_of_ml_dtypes(format: str, dtype: str) -> None:
    x = values(dtype)
    found = reconstruct(x, quantizer(FORMATS[format], 0.0))
    assert same_bits(found, torch.from_numpy(x).to(getattr(torch, format)).float().numpy())
    with np.errstate(over="ignore"):
        kind = np.float16 if format == "float16" else ml_dtypes.bfloat16
        assert same_bits(found, x.astype(kind).astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 8])
def test_symmetric_integers_are_those_of_compressed_tensors(bits: int, dtype: str) -> None:
    """Within the range of both: its lowest integer is one below ours, and only for what is clipped."""
    args = QuantizationArgs(num_bits=bits, type="int", symmetric=True, strategy="tensor")
    for threshold in thresholds(dtype):
        x = torch.from_numpy(values(dtype))
        x = x[x >= -threshold]
        how = quantizer(FORMATS[f"int{bits}"], threshold)
        expected = fake_quantize(x, torch.tensor([how.scale]), torch.zeros(1), args)
        assert same_bits(reconstruct(x.numpy(), how), expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", ["fp8_e4m3"])
def test_float8_is_that_of_compressed_tensors(format: str, dtype: str) -> None:
    args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="tensor")
    x = torch.from_numpy(values(dtype))
    for threshold in thresholds(dtype):
        how = quantizer(FORMATS[format], threshold)
        expected = fake_quantize(x, torch.tensor([how.scale]), torch.zeros(1), args)
        assert same_bits(reconstruct(x.numpy(), how), expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 8])
def test_asymmetric_integers_are_those_of_torch(bits: int, dtype: str) -> None:
    """Where 1 / scale is exact: torch multiplies by it. Its own range is that of 8 bits, ours is given."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for exponent in range(-20, 12):
        for zero_point in (lowest, -3, 0, highest):
            scale = 2.0**exponent
            low, high = (lowest - zero_point) * scale, (highest - zero_point) * scale
            how = quantizer(FORMATS[f"int{bits}_asymmetric"], max(-low, high), low, high)
            assert (how.scale, how.zero_point) == (scale, zero_point)
            # torch computes in int64, which the largest quotients leave.
            x = torch.from_numpy(values(dtype))
            x = x[x.abs() < 2.0**30 * scale]
            expected = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, lowest, highest)
            assert same_bits(reconstruct(x.numpy(), how), expected.numpy())
