"""Sums of errors of one tensor in every way: compiled loops, torch, and loops over elements agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from oracles.granularities import errors
from quantize.test_blocks import KINDS, tensor

from maxact.quantize.formats import FORMATS
from maxact.quantize.row_kernel import Calibration, CompiledKernel, RowKernel, Sums, TorchKernel
from maxact.quantize.ways import GRANULARITIES, Way, ways

INTEGERS = ["int2", "int8", "int16", "int4_asymmetric", "int16_asymmetric"]
BLOCKS = [name for name, format in FORMATS.items() if format.block is not None]
EVERY = ways([*INTEGERS, "fp8_e4m3", "fp8_e5m2", *BLOCKS], GRANULARITIES)
SOME = ways([*INTEGERS[1:4], "fp8_e4m3", *(name for name in BLOCKS if "fp4" in name)], GRANULARITIES)


CLIPPED = ways(
    ["int8", "int4", "fp8_e4m3", "int8_asymmetric", "int3_asymmetric", "nvfp4", "mxfp4", "mxfp4_rceil", "mxfp6_e2m3"],
    GRANULARITIES,
    ["mse", "quantile_0.9", "quantile_0.5"],
)


def typed(kind: str, channels: int, dtype: torch.dtype) -> torch.Tensor:
    x = tensor(kind, channels)
    return x.view(dtype) if kind == "any pattern" else x.to(dtype)


def calibrations(x: torch.Tensor) -> list[Calibration]:
    """From the tensor itself; smaller, with some channels without; and nothing at all."""
    known = torch.where(torch.isfinite(x), x.float().abs(), 0).amax(0).numpy()
    some = np.where(np.arange(x.shape[1]) % 3 == 1, np.nan, known / 2)
    return [Calibration.of(known), Calibration.of(some), Calibration.of(np.full(x.shape[1], np.nan))]


def summed(kernel: RowKernel, tensors: list[torch.Tensor], calibration: Calibration, wanted: tuple[Way, ...]) -> Sums:
    sums = Sums.zero(wanted)
    for x in tensors:
        kernel.add(sums, x, calibration)
    kernel.flush()
    return sums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_compiled_sums_are_those_of_torch(dtype: torch.dtype, kind: str) -> None:
    for channels in (1, 16, 40, 130):
        x = typed(kind, channels, dtype)
        for calibration in calibrations(x)[:2]:
            made = summed(CompiledKernel(EVERY), [x, x[:2]], calibration, EVERY)
            plain = summed(TorchKernel(EVERY), [x, x[:2]], calibration, EVERY)
            np.testing.assert_allclose(made.errors_W2, plain.errors_W2, rtol=1e-13)
            assert made.clipped_W.tolist() == plain.clipped_W.tolist()
            assert made.counts.tolist() == plain.counts.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_loops_over_elements(kind: str) -> None:
    for channels in (40, 17):
        x = tensor(kind, channels)[2:5]
        for calibration in calibrations(x)[:2]:
            made = summed(CompiledKernel(SOME), [x], calibration, SOME)
            for way, found, clipped in zip(SOME, made.errors_W2, made.clipped_W, strict=True):
                absolute, squared, beyond = errors(x.float().numpy(), way, calibration.channel_C)
                assert found.tolist() == pytest.approx([absolute, squared], rel=1e-13, abs=0, nan_ok=True), way
                assert clipped == beyond, way


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_that_clip_give_the_sums_of_torch_and_of_loops_over_elements(kind: str) -> None:
    for channels in (40, 17):
        for dtype in (torch.bfloat16, torch.float16):
            x = typed(kind, channels, dtype)
            calibration = calibrations(x)[0]
            made = summed(CompiledKernel(CLIPPED), [x, x[:2]], calibration, CLIPPED)
            plain = summed(TorchKernel(CLIPPED), [x, x[:2]], calibration, CLIPPED)
            np.testing.assert_allclose(made.errors_W2, plain.errors_W2, rtol=1e-13)
            assert made.clipped_W.tolist() == plain.clipped_W.tolist()
        x = tensor(kind, channels)[2:4]
        made = summed(CompiledKernel(CLIPPED), [x], calibrations(x)[0], CLIPPED)
        for way, found, clipped in zip(CLIPPED, made.errors_W2, made.clipped_W, strict=True):
            absolute, squared, beyond = errors(x.float().numpy(), way, calibrations(x)[0].channel_C)
            assert found.tolist() == pytest.approx([absolute, squared], rel=1e-13, abs=0, nan_ok=True), way
            assert clipped == beyond, way


def test_least_squares_never_lose_to_the_largest_magnitude_and_win_where_few_bits_meet_a_tail() -> None:
    wanted = ways(["int4", "int8"], ["token", "group_32"], ["max", "mse"])
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(4)).bfloat16()
    made = summed(CompiledKernel(wanted), [x], calibrations(x)[0], wanted)
    lost = {
        (way.format.name, way.granularity, way.policy): found[1]
        for way, found in zip(wanted, made.errors_W2, strict=True)
    }
    for (format, granularity, policy), squared in lost.items():
        if policy == "mse":
            assert squared <= lost[format, granularity, "max"]
    assert lost["int4", "token", "mse"] < 0.8 * lost["int4", "token", "max"]


def test_what_a_step_makes_infinite_is_clipped_only_where_it_lies_beyond_the_range() -> None:
    """Of a range as wide as float32 two steps of three are beyond it; of a sample it is counted by another loop than of a row."""
    wanted = ways(["int2_asymmetric"], ["sample", "token"], ["quantile_0.9"])
    x = (torch.linspace(-1, 1, 40)[None] * 3.3e38).bfloat16()
    calibration = calibrations(x)[0]
    made = summed(CompiledKernel(wanted), [x], calibration, wanted)
    with np.errstate(over="ignore"):
        _, squared, beyond = errors(x.float().numpy(), wanted[0], calibration.channel_C)
    assert squared == np.inf
    assert made.clipped_W.tolist() == [beyond, beyond]
    assert summed(TorchKernel(wanted), [x], calibration, wanted).clipped_W.tolist() == [beyond, beyond]


def test_codes_are_counted_whether_finite_or_not() -> None:
    x = tensor("not finite")
    made = summed(CompiledKernel(SOME), [x], calibrations(x)[0], SOME)
    patterns = x.view(torch.int16).numpy().view(np.uint16)
    assert made.counts.tolist() == np.bincount(patterns.ravel(), minlength=65536).tolist()


def test_sums_have_the_same_bits_with_any_number_of_threads() -> None:
    x = torch.randn(331, 96, generator=torch.Generator().manual_seed(2)).bfloat16()
    calibration = calibrations(x)[0]
    first, *others = (summed(CompiledKernel(EVERY, threads), [x, x[:40]], calibration, EVERY) for threads in (1, 2, 3))
    for other in others:
        assert other.errors_W2.tobytes() == first.errors_W2.tobytes()
        assert other.counts.tobytes() == first.counts.tobytes()


def test_an_empty_tensor_adds_nothing() -> None:
    """As inside experts that no token of a sample has chosen."""
    x = torch.empty(0, 32, dtype=torch.bfloat16)
    calibration = Calibration.of(np.ones(32))
    for kernel in (CompiledKernel(SOME), TorchKernel(SOME)):
        assert summed(kernel, [x], calibration, SOME).errors_W2.any() == np.False_


def test_without_ways_codes_are_still_counted() -> None:
    x = tensor("normal")
    for kernel in (CompiledKernel(()), TorchKernel(())):
        assert summed(kernel, [x], calibrations(x)[0], ()).counts.sum() == x.numel()


@pytest.mark.parametrize("kernel", [CompiledKernel, TorchKernel])
def test_an_element_without_a_scale_leaves_the_sums_undefined_unless_it_is_zero(kernel: type) -> None:
    """As in one channel, seen in a sample before the last, that was 0 all over the calibration split."""
    wanted = ways(["int4", "fp8_e4m3", "nvfp4"], ["channel"])
    x = tensor("normal")
    largest_C = x.float().abs().amax(0).numpy()
    largest_C[5] = 0
    zeros = torch.zeros_like(x)
    zeros[0, 5] = torch.nan
    for calibration, undefined in [
        (Calibration.of(largest_C), [True, True, False]),
        (Calibration.of(np.zeros(x.shape[1])), [True] * 3),
    ]:
        made = summed(kernel(wanted), [x, zeros], calibration, wanted)
        assert np.isnan(made.errors_W2).all(1).tolist() == undefined
        assert np.isnan(made.errors_W2).any(1).tolist() == undefined
        nothing = summed(kernel(wanted), [zeros], calibration, wanted)
        assert nothing.errors_W2.tolist() == [[0, 0]] * 3
        assert nothing.clipped_W.tolist() == [0] * 3


def test_ways_are_those_that_a_format_can_have() -> None:
    found = [(way.format.name, way.granularity) for way in ways(["nvfp4", "int8_asymmetric"], ["channel", "token"])]
    assert found == [("nvfp4", "block"), ("int8_asymmetric", "token")]
    assert len(EVERY) == len({(way.format.name, way.granularity) for way in EVERY})
    assert [way.group for way in ways(["int8"], GRANULARITIES)] == [None, None, None, 16, 32, 128]
    assert list(itertools.chain(ways([], GRANULARITIES))) == []
    clipping = ways(["int8", "nvfp4", "int8_asymmetric"], ["channel", "token"], ["max", "mse"])
    assert [(way.format.name, way.granularity, way.policy) for way in clipping] == [
        ("int8", "channel", "max"),
        ("int8", "token", "max"),
        ("int8", "token", "mse"),
        ("nvfp4", "block", "max"),
        ("nvfp4", "block", "mse"),
        ("int8_asymmetric", "token", "max"),
        ("int8_asymmetric", "token", "mse"),
    ]
