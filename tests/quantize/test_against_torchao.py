"""Quantize-dequantize agrees with torchao: by tensor, token and group, and in MX blocks with each rounding of the scale.

It agrees bit by bit, but where torchao has another definition or another order of operations, which each test names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from quantize.test_blocks import MX, SCALED, tensor

from maxact.quantize.blocks import fake_quantize
from maxact.quantize.formats import FORMATS

KINDS = ("normal", "massive", "one sign", "tiny", "zeros", "any finite pattern")
GRANULARITIES = ("sample", "token", "group_32")
# torchao makes six-bit elements of no tensor on a CPU.
BLOCKS = [name for name in MX if not name.startswith("mxfp6")] + ["nvfp4"]
ASKED = [(f"{name} {kind}", name, None, kind) for name in BLOCKS for kind in KINDS]
ASKED += [
    (f"{name} {shared} {kind}", name, shared, kind) for name in SCALED for shared in GRANULARITIES for kind in KINDS
]

SMALLEST = float(np.finfo(np.float32).tiny)


def given(kind: str) -> torch.Tensor:
    """Two blocks of 32 channels in each of six rows, all finite, float32."""
    if kind == "any finite pattern":
        x = tensor("any pattern").float()
        return torch.where(torch.isfinite(x), x, 1.0)
    return tensor(kind).float()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Everything asked, in one process: torchao lies where no other test finds it."""
    torchao = Path(sys.prefix, "torchao")
    assert torchao.exists(), f"{torchao} is missing: `make test` installs what envs/torchao.txt locks into it"
    folder = tmp_path_factory.mktemp("torchao")
    np.savez(folder / "given.npz", **{kind: given(kind).numpy() for kind in KINDS})
    script = Path(__file__).with_name("torchao_values.py")
    subprocess.run(
        [sys.executable, script, json.dumps(ASKED), folder / "given.npz", folder / "made.npz"],
        env={**os.environ, "PYTHONPATH": str(torchao)},
        check=True,
    )
    return dict(np.load(folder / "made.npz"))


@pytest.mark.parametrize("format", [name for name in BLOCKS if name != "nvfp4"])
def test_mx_blocks_are_those_of_torchao(format: str, theirs: dict[str, np.ndarray]) -> None:
    """Its scale is at least 2^-126, a normal float32, where E8M0 has 2^-127 too."""
    for kind in KINDS:
        x = given(kind)
        found = fake_quantize(x, FORMATS[format]).unflatten(-1, (-1, 32))
        largest = x.unflatten(-1, (-1, 32)).abs().amax(-1)
        scaled = (largest / FORMATS[format].elements.largest > 2 * SMALLEST) | (largest == 0)
        expected = torch.from_numpy(theirs[f"{format} {kind}"]).unflatten(-1, (-1, 32))
        assert kind == "tiny" or scaled.any()
        assert torch.equal(found[scaled], expected[scaled])


def test_nvfp4_is_that_of_torchao_to_the_last_bit_of_a_product(theirs: dict[str, np.ndarray]) -> None:
    """It multiplies the two scales before it divides by them: the same elements, times scales that differ by rounding."""
    for kind in ("normal", "massive", "one sign"):
        found, expected = fake_quantize(given(kind), FORMATS["nvfp4"]).numpy(), theirs[f"nvfp4 {kind}"]
        assert (expected != 0).mean() > 0.2
        np.testing.assert_allclose(found, expected, rtol=3e-7, atol=0)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("format", SCALED)
def test_tensors_tokens_and_groups_are_those_of_torchao(
    format: str, granularity: str, theirs: dict[str, np.ndarray]
) -> None:
    """The scale of its integers is at least 2^-126, and its FP8 makes NaN of a tensor of zeros. With a zero point it
    multiplies by the inverse of the scale: what lies in the middle of two levels may go to the other.
    """
    size = {"sample": -1, "token": 64, "group_32": 32}[granularity]
    for kind in ("normal", "massive", "one sign", "tiny", "zeros"):
        groups = given(kind).reshape(-1, size) if size > 0 else given(kind).reshape(1, -1)
        found = fake_quantize(given(kind), FORMATS[format], granularity).reshape(groups.shape)
        expected = torch.from_numpy(theirs[f"{format} {granularity} {kind}"]).reshape(groups.shape)
        largest = groups.abs().amax(-1)
        known = largest > 2.0 ** FORMATS[format].bits * SMALLEST if format.startswith("int") else largest > 0
        assert known.any() or kind in ("tiny", "zeros")
        if format.endswith("_asymmetric"):
            step = 2 * largest / (2.0 ** FORMATS[format].bits - 1)
            differs = (found != expected) & known[:, None]
            assert int(differs.sum()) <= 1
            assert bool(((found - expected).abs() <= 1.01 * step[:, None])[known].all())
        else:
            assert torch.equal(found[known], expected[known])
