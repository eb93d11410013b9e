"""Workspaces for the tests that run Snakemake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workflow.harness import CHECKOUT, REPOSITORY, Run, Workspace, copy_of, small_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """A workspace in which the small study has been run once. Tests copy it and leave it as it is."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"), small_study())
    for name in CHECKOUT:
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, workspace.folder / name)
    reports = workspace.folder / "reports"
    reports.mkdir()
    shutil.copytree(REPOSITORY / "reports" / "captions", reports / "captions")
    shutil.copy2(REPOSITORY / "reports" / "workflow.rst", reports)
    return workspace, workspace.snakemake()


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
