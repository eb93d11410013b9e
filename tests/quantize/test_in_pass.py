"""In a pass, every bit pattern becomes what `reconstruct` makes of it, in the tensor's dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from maxact.histogram import code_values, finite_codes
from maxact.quantize.blocks import fake_quantize
from maxact.quantize.formats import FORMATS
from maxact.quantize.in_pass import LookedUp, cast, dynamic
from maxact.quantize.quantizers import quantizer, reconstruct

DTYPES = ("bfloat16", "float16")


def every_pattern(dtype: str) -> Tensor:
    return torch.arange(65536, dtype=torch.int32).to(torch.int16).view(getattr(torch, dtype))


def bits(x: Tensor) -> list[int]:
    """Bit patterns; all NaN alike."""
    return torch.where(torch.isnan(x), 0x7FFF, x.contiguous().view(torch.int16).int() & 0xFFFF).tolist()


@pytest.mark.parametrize("threshold", [0.0, 3.0, 26000.0, 1e-40, float("nan")])
@pytest.mark.parametrize("format", ["int8", "int4_asymmetric", "fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pattern_is_reconstructed_and_rounded_to_the_dtype(dtype: str, format: str, threshold: float) -> None:
    how = quantizer(FORMATS[format], threshold, -threshold / 3, threshold)
    x = every_pattern(dtype)
    found = LookedUp(how, dtype)(x)
    finite = finite_codes(dtype).copy()
    expected = torch.from_numpy(reconstruct(code_values(dtype)[finite].astype(np.float32), how)).to(x.dtype)
    assert found.dtype == x.dtype
    assert bits(found[torch.from_numpy(finite)]) == bits(expected)
    rest = ~torch.from_numpy(finite)
    assert bits(found[rest]) == bits(x[rest])


@pytest.mark.parametrize("format", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cast_is_that_of_the_format(dtype: str, format: str) -> None:
    x = every_pattern(dtype)
    finite = torch.from_numpy(finite_codes(dtype).copy())
    values = code_values(dtype)[finite_codes(dtype)].astype(np.float32)
    expected = torch.from_numpy(reconstruct(values, quantizer(FORMATS[format], 0.0))).to(x.dtype)
    found = cast(FORMATS[format])(x)
    assert bits(found[finite]) == bits(expected)
    assert bits(found[~finite]) == bits(x[~finite])


def test_layout_in_memory_and_shape_do_not_matter() -> None:
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    look = LookedUp(quantizer(FORMATS["int4"], 1.0), "bfloat16")
    turned = x.transpose(1, 2)
    assert torch.equal(look(turned), look(x).transpose(1, 2))


def test_a_table_refuses_another_dtype() -> None:
    with pytest.raises(TypeError, match="bfloat16"):
        LookedUp(quantizer(FORMATS["int8"], 1.0), "bfloat16")(torch.ones(2))


@pytest.mark.parametrize("policy", ["max", "mse", "quantile_0.9"])
@pytest.mark.parametrize(("format", "granularity"), [("int8", "token"), ("fp8_e4m3", "group_16"), ("mxfp4", None)])
def test_dynamic_scales_are_those_of_fake_quantize(format: str, granularity: str | None, policy: str) -> None:
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = dynamic(FORMATS[format], granularity, policy=policy)(x)
    assert found.dtype == x.dtype
    assert torch.equal(found, fake_quantize(x, FORMATS[format], granularity, policy=policy).bfloat16())
