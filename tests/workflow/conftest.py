"""Workspaces for the tests that run Snakemake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workflow.harness import Run, Workspace, copy_of, run_once, small_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """A workspace in which the small study has been run once. Tests copy it and leave it as it is."""
    return run_once(tmp_path_factory, "finished", small_study())


@pytest.fixture
def workspace(finished: tuple[Workspace, Run], tmp_path: Path) -> Workspace:
    return copy_of(finished[0], tmp_path / "checkout")


@pytest.fixture
def edit(workspace: Workspace) -> Callable[[str, str, str], None]:
    """Replace text in a file of the checkout; the text must be there."""

    def replace(path: str, old: str, new: str) -> None:
        file = workspace.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    return replace
