"""Files without a fault, altered and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxact.published.files import Published, read_tree
from published.audit.faults import Files, without_fault
from published.tree import written


@pytest.fixture(scope="session")
def good() -> str:
    return json.dumps(without_fault())


@pytest.fixture
def read(good: str, tmp_path: Path) -> Callable[..., Published]:
    trees = iter(range(100))

    def altered(*changes: Callable[[Files], Any]) -> Published:
        files = json.loads(good)
        for change in changes:
            change(files)
        return read_tree(written(tmp_path / str(next(trees)), files))

    return altered
