"""What several tests of the store need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxact.stages import STAGES, Stage
from maxact.store.objects import Store
from store import toy_stage


@pytest.fixture
def toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that are computed at once: one, a second that reads its objects, and a third that reads its summary."""
    toy_stage.CALLS.clear()
    monkeypatch.setitem(STAGES, "first", Stage("store.toy_stage", {}))
    monkeypatch.setitem(STAGES, "second", Stage("store.toy_stage", {"first": ("out.*",)}))
    monkeypatch.setitem(STAGES, "third", Stage("store.toy_stage", {"first": ("summary",)}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield disk
    # Also where something has a file there open still: that goes when it is closed.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
