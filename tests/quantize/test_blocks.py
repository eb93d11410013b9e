"""Scales that follow from tokens, groups and blocks: as a plain loop finds them, and as compressed-tensors does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize as theirs
from compressed_tensors.quantization.utils import calculate_qparams

from maxact.quantize.blocks import GROUPS, fake_quantize
from maxact.quantize.formats import E2M1, FORMATS, Floats
from maxact.quantize.quantizers import quantizer, reconstruct
from maxact.quantize.shared_scales import shared_exponent

SCALED = ["int8", "int4", "int8_asymmetric", "int4_asymmetric", "fp8_e4m3", "fp8_e5m2"]
MX = [name for name in FORMATS if name.startswith("mx")]


def tensor(kind: str, channels: int = 64) -> torch.Tensor:
    rng = np.random.default_rng(sum(map(ord, kind)))
    x = rng.standard_normal((6, channels)) * np.exp(2 * rng.standard_normal((6, channels)))
    if kind == "massive":
        x[2, channels // 2], x[3] = 26000, 0
    elif kind == "one sign":
        x = np.abs(x)
    elif kind == "any pattern":
        return torch.from_numpy(rng.integers(-32768, 32768, (6, channels)).astype(np.int16)).view(torch.bfloat16)
    elif kind == "tiny":
        x *= 1e-38
    elif kind == "zeros":
        x[:] = 0
    elif kind == "not finite":
        x[0, 0], x[1, -1], x[5] = np.inf, -np.inf, np.nan
    return torch.from_numpy(x).to(torch.bfloat16)


KINDS = ["normal", "massive", "one sign", "any pattern", "tiny", "zeros", "not finite"]


def one_by_one(x: torch.Tensor, format: str, granularity: str) -> np.ndarray:
    """Each group apart, with the quantizer of whole tensors."""
    x_TC = x.float().numpy()
    made = x_TC.copy()
    width = {"sample": x_TC.size, "token": x_TC.shape[1]}.get(granularity) or int(granularity.removeprefix("group_"))
    rows = [made.reshape(-1)] if granularity == "sample" else list(made)
    for row in rows:
        for start in range(0, len(row), width):
            group = row[start : start + width]
            finite = group[np.isfinite(group)]
            if len(finite):
                low, high = float(finite.min()), float(finite.max())
                how = quantizer(FORMATS[format], max(-low, high), low, high)
                group[np.isfinite(group)] = reconstruct(finite, how)
    return made


def same(found: torch.Tensor, expected: np.ndarray) -> bool:
    return np.array_equal(found.numpy(), expected, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("granularity", GROUPS)
@pytest.mark.parametrize("format", SCALED)
def test_groups_are_quantized_as_tensors_of_their_own(format: str, granularity: str, kind: str) -> None:
    for channels in (64, 72, 1):
        x = tensor(kind, channels)
        assert same(fake_quantize(x, FORMATS[format], granularity), one_by_one(x, format, granularity))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", MX)
def test_a_block_shares_the_power_of_two_of_its_definition(format: str, kind: str) -> None:
    elements = FORMATS[format].elements
    assert isinstance(elements, Floats)
    for channels in (64, 40):
        x = tensor(kind, channels)
        found = fake_quantize(x, FORMATS[format]).numpy()
        for row, made in zip(x.double().numpy(), found, strict=True):
            for start in range(0, channels, 32):
                block, out = row[start : start + 32], made[start : start + 32]
                finite = np.isfinite(block)
                largest = float(np.abs(block[finite]).max(initial=0))
                assert np.array_equal(out[~finite], block[~finite], equal_nan=True)
                scale = 2.0 ** expected_exponent(largest, format, elements) if largest else 1.0
                with np.errstate(over="ignore"):  # what rounds up may be beyond float32
                    expected = [float(np.float32(nearest(value / scale, elements) * scale)) for value in block[finite]]
                assert out[finite].tolist() == expected


def expected_exponent(largest: float, format: str, elements: Floats) -> int:
    """By logarithms and exact comparisons in float64."""
    floor = math.floor(math.log2(largest)) - elements.largest_exponent
    if format.endswith("_rceil"):
        ratio = float(np.float32(largest) / np.float32(elements.largest))
        found = next(e for e in range(-200, 200) if 2.0**e >= ratio)
    elif format.endswith("_ceil"):
        found = floor + (math.log2(largest) != math.floor(math.log2(largest)))
    elif format.endswith("_even"):
        unit = 2.0 ** (math.floor(math.log2(largest)) - elements.mantissa)
        rounded = math.floor(largest / unit + 0.5) * unit
        found = math.floor(math.log2(rounded)) - elements.largest_exponent
    else:
        found = floor
    return min(max(found, -127), 127)


def nearest(y: float, elements: Floats) -> float:
    """The nearest element, of two the one whose fraction is even, found among all of them."""
    exponents = range(elements.smallest_exponent, elements.largest_exponent + 1)
    steps = 2**elements.mantissa
    normal = [(1 + i / steps) * 2.0**e for e in exponents for i in range(steps)]
    levels = [i / steps * 2.0**elements.smallest_exponent for i in range(steps)] + normal
    levels = [value for value in levels if value <= elements.largest]
    distance = [abs(abs(y) - level) for level in levels]
    best = [index for index, far in enumerate(distance) if far == min(distance)]
    return math.copysign(levels[next(index for index in best if len(best) == 1 or index % 2 == 0)], y)


@pytest.mark.parametrize("strategy", ["token", "group"])
@pytest.mark.parametrize(("format", "bits", "kind"), [("int8", 8, "int"), ("int4", 4, "int"), ("fp8_e4m3", 8, "float")])
def test_tokens_and_groups_are_those_of_compressed_tensors(format: str, bits: int, kind: str, strategy: str) -> None:
    size: dict[str, Any] = {"group_size": 32} if strategy == "group" else {"dynamic": True}
    args = QuantizationArgs(num_bits=bits, type=kind, symmetric=True, strategy=strategy, **size)
    x = tensor("normal").float()
    groups = x if strategy == "token" else x.unflatten(-1, (2, 32))
    scale = groups.abs().amax(-1, keepdim=strategy == "token") / FORMATS[format].elements.largest
    expected = theirs(x, scale, torch.zeros_like(scale), args)
    granularity = "token" if strategy == "token" else "group_32"
    assert same(fake_quantize(x, FORMATS[format], granularity), expected.numpy())


def test_nvfp4_is_that_of_compressed_tensors() -> None:
    args = QuantizationArgs(
        num_bits=4,
        type="float",
        symmetric=True,
        strategy="tensor_group",
        group_size=16,
        scale_dtype=torch.float8_e4m3fn,
    )
    for kind in ("normal", "one sign"):
        x = tensor(kind).float()
        largest = float(x.abs().max())
        whole = torch.tensor(448.0 * 6.0 / largest, dtype=torch.float32)
        blocks = x.unflatten(-1, (4, 16))
        scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args, global_scale=whole)
        expected = theirs(x, scale.float(), zero.float(), args, global_scale=whole)
        assert same(fake_quantize(x, FORMATS["nvfp4"]), expected.numpy())
        assert same(fake_quantize(x, FORMATS["nvfp4"], largest=largest), expected.numpy())


def test_mxfp4_even_is_that_of_compressed_tensors() -> None:
    args = QuantizationArgs(
        num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8
    )
    for kind in ("normal", "one sign"):
        x = tensor(kind).float()
        blocks = x.unflatten(-1, (2, 32))
        scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
        expected = theirs(x, scale.float(), zero.float(), args)
        assert same(fake_quantize(x, FORMATS["mxfp4_even"]), expected.numpy())


def test_a_block_far_below_the_largest_is_lost_in_nvfp4() -> None:
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 16] = 1e6, 1e-3
    found = fake_quantize(x, FORMATS["nvfp4"])
    assert found[0, 0] == pytest.approx(1e6, rel=1e-6)
    assert found[0, 16] == 0


def test_roundings_of_a_shared_exponent_differ_where_they_should() -> None:
    largest = torch.tensor([4.0, 6.0, 6.5, 7.0, 7.5])
    found = {name: shared_exponent(largest, E2M1, name).tolist() for name in ("floor", "ceil", "even", "rceil")}
    assert found == {
        "floor": [0, 0, 0, 0, 0],
        "ceil": [0, 1, 1, 1, 1],
        "even": [0, 0, 0, 1, 1],
        "rceil": [0, 0, 1, 1, 1],
    }


@pytest.mark.parametrize(("format", "granularity"), [("int8", None), ("mxfp4", "token"), ("int8", "row")])
def test_a_granularity_that_a_format_has_not_is_refused(format: str, granularity: str | None) -> None:
    with pytest.raises(ValueError, match="granularity"):
        fake_quantize(torch.ones(2, 4), FORMATS[format], granularity)
