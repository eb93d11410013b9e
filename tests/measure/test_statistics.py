"""All kernels say what the plain oracle says, with the same bytes, on random and on hostile tensors."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from measure.captured import TOKEN, assert_agrees, measured, watched
from measure.hostile import DTYPES, KINDS, samples, tensor
from oracles.statistics import Sampled

from maxact.measure.kernels import KERNELS
from maxact.measure.numba_kernel import NumbaKernel
from maxact.measure.reference import ReferenceKernel
from maxact.measure.tables import tables
from maxact.measurement import Measurement

SHAPES = ((1, 1), (1, 7), (5, 2), (9, 31), (130, 3), (17, 64))


def table_bytes(measurement: Measurement, folder: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in measurement.write(folder).items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_equal_the_oracle_with_the_same_bytes(kind: str, dtype: str, tmp_path: Path) -> None:
    for number, shape in enumerate(SHAPES):
        seen = samples(kind, dtype, shape, number=4, seed=KINDS.index(kind))
        found = {kernel: measured(seen, kernel) for kernel in KERNELS}
        assert_agrees(found["numba"], seen)
        written = [table_bytes(tables, tmp_path / f"{number}{kernel}") for kernel, tables in found.items()]
        assert all(files == written[0] for files in written)


@pytest.mark.parametrize("seed", range(30))
def test_mixtures_of_hostile_samples_equal_the_oracle(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    dtype, channels = choose.choice(list(DTYPES)), choose.randint(1, 40)
    seen = []
    for number in range(choose.randint(1, 6)):
        kind, split = choose.choice(KINDS), choose.choice(["calibration", "evaluation", "rest"])
        shape = (choose.randint(1, 25), channels)
        seen.append((number, split, samples(kind, dtype, shape, 1, seed + number)[0][2]))
    found = {kernel: measured(seen, kernel) for kernel in KERNELS}
    assert_agrees(found["reference"], seen)
    written = [table_bytes(tables, tmp_path / kernel) for kernel, tables in found.items()]
    assert all(files == written[0] for files in written)


@pytest.mark.parametrize(
    "kind", ["few values", "any pattern", "some rows not finite", "zeros of both signs", "massive"]
)
def test_shards_in_any_order_end_in_the_same_bytes(kind: str, tmp_path: Path) -> None:
    seen = samples(kind, "bfloat16", (30, 9), number=3, seed=5)
    expected = table_bytes(measured(seen, "numba"), tmp_path / "whole")
    for number, order in enumerate(itertools.permutations(seen)):
        shards = [watched([sample], "numba") for sample in order]
        (sites, states), *others = shards
        for _, other in others:
            states[0].merge(other[0])
        merged = tables(sites, states, {TOKEN: "seven"})
        assert table_bytes(merged, tmp_path / f"merged{number}") == expected
        assert table_bytes(measured(order, "numba"), tmp_path / f"order{number}") == expected


def test_shards_of_different_sites_are_not_merged() -> None:
    (_, narrow), (_, wide) = (watched(samples("normal", "bfloat16", (4, c), 1, 0), "numba") for c in (3, 4))
    with pytest.raises(ValueError, match="shards differ"):
        narrow[0].merge(wide[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["normal", "few values", "no positive", "no negative", "massive"])
def test_the_number_of_threads_changes_nothing(kind: str, threads: int) -> None:
    (_, _, x), = samples(kind, "bfloat16", (37, 33), 1, 0)  # fmt: skip
    counts = np.zeros((2, 65536), np.int64)
    kernel, plain = NumbaKernel(threads), ReferenceKernel()
    for least in (0, 0x3F80, 0x4200):
        found, expected = kernel.scan(x, counts[0], least), plain.scan(x, counts[1], least)
        for name in ("row_max_T", "medians_T", "channel_max_C", "top_N"):
            assert (getattr(found, name) == getattr(expected, name)).all()
        assert (found.largest, found.smallest) == (expected.largest, expected.smallest)
        assert [found.peak_of(row) for row in range(37)] == [expected.peak_of(row) for row in range(37)]
        assert (counts[0] == counts[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_that_are_not_contiguous_are_read_in_their_order(dtype: str) -> None:
    (_, _, x), = samples("normal", dtype, (12, 16), 1, 3)  # fmt: skip
    seen: list[Sampled] = [(0, "rest", x.T), (1, "calibration", x.T[:, ::1].flip(0)), (2, "rest", x.T[::2])]
    assert_agrees(measured(seen, "numba"), seen)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_first_of_equal_extremes_counts(kernel: str) -> None:
    x = torch.zeros(4, 5, dtype=torch.bfloat16)
    x[2, 3] = x[2, 4] = x[3, 0] = 8
    x[1, 4] = x[2, 0] = -8
    sites = measured([(9, "rest", x), (4, "rest", x)], kernel).sites.iloc[0]
    place = (sites.peak_sample, sites.peak_position, sites.peak_channel)
    assert (sites.peak, sites.peak_signed, place) == (8, -8, (4, 1, 4))
    assert (sites.massive_max_ratio, sites.massive_max_ratio_position) == (float("inf"), 0)  # 0 / 0 counts as infinite


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_passes_only_above_both_bounds(dtype: str) -> None:
    """Strictly more than 100, and strictly more than 1000 times the median."""
    x = torch.full((4, 3), 0.125, dtype=DTYPES[dtype])
    x[:, 0] = torch.tensor([125, 125.5, 100, 100.5])
    x[2:, 1:] = 0.0078125
    seen: list[Sampled] = [(token, "rest", row[None]) for token, row in enumerate(x)]
    passed = [measured([sample], "numba").sites.massive_tokens_passed.item() for sample in seen]
    assert passed == [0, 1, 0, 1]
    assert measured(seen, "numba").sites.massive_tokens_passed.item() == 2


def test_medians_are_found_far_from_the_last_tokens() -> None:
    """The search starts at the previous token's median; here each is far from it, some at the ends of the range."""
    scales = [1e-38, 1e38, 1.0, 0.0, 3e38, 1e-40, 1e20, 1e-20]
    normal = tensor("normal", "float32", len(scales), 101, np.random.default_rng(0))
    x = (normal.clamp(-1, 1).double() * torch.tensor(scales, dtype=torch.float64)[:, None]).to(torch.bfloat16)
    seen: list[Sampled] = [(0, "rest", x), (1, "rest", x.flip(0))]
    assert_agrees(measured(seen, "numba"), seen)
