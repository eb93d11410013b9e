"""One real SLURM for all tests of a module, and the small study with checkpoints that are to be measured through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from workflow.harness import Run, Workspace, copy_of

from slurm.cluster import Cluster, lacking
from slurm.submitted import Submitted, plugin


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = lacking()
    if reason:
        pytest.skip(reason)
    if plugin() is None:
        pytest.skip("the executor for SLURM is not installed: make slurm-tests installs it")
    with Cluster() as started:
        yield started


@pytest.fixture
def submitted(
    cluster: Cluster, finished: tuple[Workspace, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Submitted:
    """The small study on GPUs, with nothing of it measured on them yet."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")) or name == "CUDA_VISIBLE_DEVICES":
            monkeypatch.delenv(name)
    workspace = copy_of(finished[0], tmp_path / "checkout")
    return Submitted(cluster, workspace)
