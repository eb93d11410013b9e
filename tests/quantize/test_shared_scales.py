"""Scales by policy: of all that a block can have none has a smaller squared error, and what is known by hand comes out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles.granularities import every_scale, levels

from maxact.quantize.blocks import fake_quantize, quantized_and_clipped
from maxact.quantize.elements import folded
from maxact.quantize.formats import FORMATS, Floats, Format
from maxact.quantize.shared_scales import E4M3_NUMBERS, e4m3, e4m3_rank

BLOCKS = [name for name in FORMATS if FORMATS[name].block is not None and "_ceil" not in name and "_even" not in name]

Values = np.ndarray


def random_blocks(rng: np.random.Generator, size: int) -> Values:
    return rng.standard_normal((60, size)) * np.exp(3 * rng.standard_normal((60, 1)))


def with_outlier(rng: np.random.Generator, size: int) -> Values:
    """One value far above the others, which a smaller scale could serve."""
    x = rng.standard_normal((60, size))
    x[:, 3] = 4 * np.exp(rng.uniform(0, 3, 60))
    return x


def on_the_grid_of_another_scale(rng: np.random.Generator, size: int) -> Values:
    """All but the largest are exact under a scale up to four octaves from that of the largest."""
    grid = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6])
    x = (
        rng.choice(grid, (80, size))
        * 2.0 ** rng.integers(-4, 4, (80, 1))
        * rng.choice([1, 9 / 8, 5 / 4, 11 / 8], (80, 1))
    )
    x[:, 0] = rng.uniform(4, 8, 80)
    return x * rng.choice([-1, 1], x.shape)


def just_below_the_smallest_normal(rng: np.random.Generator, size: int) -> Values:
    """As much as possible is won by half of the scale: the largest is a power of two, the others are between two elements."""
    x = np.full((40, size), 0.25) * rng.choice([1, 3, 5], (40, size))
    x[:, 0] = np.linspace(4, 5, 40)
    return x


def far_below_the_tensor(rng: np.random.Generator, size: int) -> Values:
    """The scales of NVFP4 are subnormal e4m3 numbers, of which few have a half."""
    x = rng.uniform(0, 1, (120, size)) * np.exp2(rng.uniform(-18, -11, (120, 1)))
    x[::3, 1:] = x[::3, :1] * rng.choice([1, 0.5, 0.75], (40, size - 1))
    x[0, 0] = 1
    return x


KINDS = [
    random_blocks,
    with_outlier,
    on_the_grid_of_another_scale,
    just_below_the_smallest_normal,
    far_below_the_tensor,
]


def errors_of_all(block: Values, scales: Values, format: Format) -> Values:
    """The sum of squared errors under each scale, by looking at all elements."""
    assert isinstance(format.elements, Floats)
    known = np.array(levels(format.elements))
    y = np.minimum(np.abs(block)[None, :] / scales[:, None], np.float32(format.elements.largest)).astype(np.float64)
    at = np.searchsorted((known[1:] + known[:-1]) / 2, y)
    made = known[at].astype(np.float32) * scales[:, None]
    return ((made.astype(np.float64) - np.abs(block)) ** 2).sum(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("calibrated", [1.0, 0.03])
def test_no_scale_that_a_block_can_have_has_less_squared_error(
    name: str, kind: Callable[[np.random.Generator, int], Values], calibrated: float
) -> None:
    """Also where the calibration split has less than a 30th of the largest |x|, so that scales of NVFP4 saturate."""
    format = FORMATS[name]
    assert format.block is not None
    x = torch.from_numpy(kind(np.random.default_rng(7), format.block)).bfloat16()
    largest = float(x.abs().max()) * calibrated
    found = fake_quantize(x, format, largest=largest, policy="mse")
    lost = (found.double() - x.double()).square().sum(1).numpy()
    by_max = (fake_quantize(x, format, largest=largest).double() - x.double()).square().sum(1).numpy()
    scales = np.array(every_scale(format, np.array([largest], np.float32)))
    with np.errstate(over="ignore"):
        least = np.array([errors_of_all(block, scales, format).min() for block in x.float().numpy()])
    np.testing.assert_allclose(lost, least, rtol=1e-5, atol=1e-30)
    assert (lost <= by_max).all()
    if kind is with_outlier and "fp4" in name and calibrated == 1:
        assert (lost < by_max).any()


def test_a_block_that_is_exact_under_its_largest_by_four_is_exact() -> None:
    x = torch.tensor([[10.0, 20.0, 30.0, 40.0] * 4])
    whole = 40 * 448 / 256  # so that 10 is among the scales
    assert torch.equal(fake_quantize(x, FORMATS["nvfp4"], largest=whole, policy="mse"), x)
    assert not torch.equal(fake_quantize(x, FORMATS["nvfp4"], largest=whole), x)


def test_a_block_that_floor_clips_has_the_next_power_of_two() -> None:
    """7 is clipped to 6 under 1; under 2 it is 8, and the small ones lose nothing."""
    x = torch.tensor([[7.5, *([2.0] * 31)]])
    assert fake_quantize(x, FORMATS["mxfp4"])[0, :2].tolist() == [6, 2]
    assert fake_quantize(x, FORMATS["mxfp4"], policy="mse")[0, :2].tolist() == [8, 2]


def test_the_rounding_of_a_shared_exponent_does_not_matter_to_least_squares() -> None:
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    made = [
        fake_quantize(x, FORMATS[f"mxfp4{rounding}"], policy="mse") for rounding in ("", "_ceil", "_even", "_rceil")
    ]
    assert all(torch.equal(made[0], other) for other in made[1:])


def test_an_asymmetric_range_is_cut_where_that_loses_less() -> None:
    x = torch.cat([torch.linspace(0, 1, 2000), torch.tensor([2.0])])[None].bfloat16()
    format = FORMATS["int4_asymmetric"]
    made, clipped = quantized_and_clipped(x, format, "token", policy="mse")
    bare, none = quantized_and_clipped(x, format, "token")
    assert (made - x.float()).square().sum() < 0.8 * (bare - x.float()).square().sum()
    assert (int(clipped), int(none)) == (1, 0)


@pytest.mark.parametrize("name", ["nvfp4", "mxfp4", "mxfp8_e5m2", "int4_asymmetric"])
def test_a_threshold_of_zero_clips_all_to_zero(name: str) -> None:
    """The median of |x| is 0; the largest is as large as bfloat16 has it."""
    x = torch.zeros(2, 32)
    x[0, :3], x[1, :2] = torch.tensor([3e38, -1, 1e-30]), torch.tensor([-2.0, 1.0])
    granularity = None if FORMATS[name].block else "token"
    made, clipped = quantized_and_clipped(x, FORMATS[name], granularity, policy="quantile_0.5")
    assert not made.any()
    assert int(clipped) == 5


def test_the_numbers_of_e4m3_are_in_their_order() -> None:
    ranks = torch.arange(E4M3_NUMBERS + 1, dtype=torch.int32)
    numbers = e4m3(ranks)
    assert numbers.tolist() == torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float().tolist()
    assert e4m3_rank(numbers).tolist() == ranks.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 128])
def test_sums_are_folded_in_halves(size: int) -> None:
    x = torch.randn(3, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64) * 1e8
    for row, found in zip(x.tolist(), folded(x).squeeze(1).tolist(), strict=True):
        while len(row) > 1:
            half = math.ceil(len(row) / 2)
            row = [a + b for a, b in zip(row[:half], [*row[half:], 0.0][:half], strict=True)]
        assert found == row[0]
