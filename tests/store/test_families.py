"""A family's adapter decides that family's measurements and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maxact.sites.registry import ADAPTERS
from maxact.stages import STAGES
from maxact.store.code import ROOT, code_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the library, to change."""
    return Path(shutil.copytree(ROOT, tmp_path / "maxact", ignore=shutil.ignore_patterns("__pycache__")))


def measuring(package: Path) -> dict[str, str]:
    """The code digest of a measurement of each family."""
    return {family: code_digest([STAGES["measure"].module, module], package) for family, module in ADAPTERS.items()}


def test_a_new_familys_adapter_remeasures_no_family(package: Path) -> None:
    before = measuring(package)
    (package / "sites" / "phi.py").write_text("from maxact.sites.llama import block\n\n__all__ = ['block']\n")
    registry = package / "sites" / "registry.py"
    registry.write_text(registry.read_text().replace('"llama":', '"phi": "maxact.sites.phi",\n    "llama":'))
    assert "phi" in registry.read_text()
    assert measuring(package) == before


def test_an_edit_of_an_adapter_remeasures_the_families_that_use_it(package: Path) -> None:
    before = measuring(package)
    adapter = package / "sites" / "qwen3_5.py"
    adapter.write_text(adapter.read_text() + "\nMORE = 1\n")
    after = measuring(package)
    assert {family for family in before if before[family] != after[family]} == {"qwen3_5", "qwen3_5_moe"}
