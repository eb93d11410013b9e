"""`maxact pin`: what the hub has today, in a lock file that is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.server import Hub
from maxact.cli import main
from maxact.study import load_study
from maxact.study.hub import Hub as HubSource
from maxact.study.pins import lock_file

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = bytes(range(256)) * 20
FILES = {
    "config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "README.md": b"#",
    "original/x.safetensors": b"x",
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The pocket study with one checkpoint of the hub more, and a corpus of the hub."""
    config = yaml.safe_load((REPOSITORY / "studies" / "pocket.yaml").read_text(encoding="utf-8"))
    source = {"kind": "hub", "repository": "owner/model-1B", "revision": "v1"}
    config["families"]["model"] = {"model_type": "llama", "tokenizer": "model-1B"}
    config["checkpoints"].append({"name": "model-1B", "family": "model", "source": source, "perplexity_ceiling": 40.0})
    config["corpus"] = {
        "recipe": "ready_dataset",
        "language": "en",
        "source": {"kind": "hub", "repository": "owner/text"},
        "columns": {"text": "text", "subset": "domain"},
        "samples": 240,
        "maximum_tokens": 512,
        "proportions": {"knowledge": 120, "web": 120},
        "length_tokenizer": "counting",
    }
    config["tokenizers"]["counting"] = {"kind": "hub", "repository": "owner/tokenizer"}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@pytest.fixture
def commits(hub: Hub) -> dict[str, str]:
    return {
        "model": hub.repository("owner/model-1B").commit(FILES, branch="v1"),
        "tokenizer": hub.repository("owner/tokenizer").commit(
            {"tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}
        ),
        "text": hub.repository("owner/text", "datasets").commit({"data.parquet": b"x"}),
    }


def pinned(study: Path) -> dict[str, Any]:
    lock: dict[str, Any] = json.loads(lock_file(study).read_text(encoding="utf-8"))
    return lock


def test_a_study_is_pinned_to_commits_digests_and_licences(study: Path, commits: dict[str, str]) -> None:
    assert main(["pin", str(study)]) == 0
    lock = pinned(study)
    model = lock["models"]["owner/model-1B@v1"]
    assert model["commit"] == commits["model"]
    assert model["licence"] == "apache-2.0"
    assert set(model["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert model["files"]["model.safetensors"]["size"] == len(WEIGHTS)
    assert set(lock["models"]["owner/tokenizer@main"]["files"]) == {"tokenizer.json", "tokenizer_config.json"}
    assert lock["datasets"]["owner/text@main"]["commit"] == commits["text"]
    assert all(source.pin is not None for _, source in load_study(study).from_hub())


def test_what_is_pinned_stays_until_it_is_pinned_again(study: Path, commits: dict[str, str], hub: Hub) -> None:
    main(["pin", str(study)])
    moved = hub.repository("owner/model-1B").commit(FILES | {"config.json": b'{"a": 1}'}, branch="v1")
    main(["pin", str(study)])
    assert pinned(study)["models"]["owner/model-1B@v1"]["commit"] == commits["model"]
    main(["pin", "--again", str(study)])
    assert pinned(study)["models"]["owner/model-1B@v1"]["commit"] == moved


def test_a_pin_that_the_study_no_longer_needs_goes(study: Path, commits: dict[str, str]) -> None:
    main(["pin", str(study)])
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    config["checkpoints"].pop()
    config["families"].pop("model")
    study.write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["pin", str(study)])
    assert set(pinned(study)["models"]) == {"owner/tokenizer@main"}


def test_the_weights_of_the_index_are_taken_where_there_are_two_copies(
    study: Path, commits: dict[str, str], hub: Hub
) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, "consolidated.safetensors": b"c"}
    hub.repository("owner/model-1B").commit(files | {f"model-{n}.safetensors": b"w" for n in (1, 2)}, branch="v1")
    main(["pin", str(study)])
    assert set(pinned(study)["models"]["owner/model-1B@v1"]["files"]) == {
        "config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors",
    }  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], study: Path) -> str:
    before = lock_file(study).read_bytes() if lock_file(study).exists() else None
    assert main(["pin", str(study)]) == 2
    after = lock_file(study).read_bytes() if lock_file(study).exists() else None
    assert after == before
    assert [file.name for file in study.parent.iterdir() if file.name.startswith(".")] == []
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


MISTAKES: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "pickles only": ({"config.json": b"{}", "pytorch_model.bin": b"x"}, ["pickled", "pytorch_model.bin", "refused"]),
    "no weights": ({"config.json": b"{}"}, ["no *.safetensors"]),
    "no configuration": ({"model.safetensors": b"x"}, ["no config.json"]),
    "index of nothing": (
        {"config.json": b"{}", "model.safetensors.index.json": b"{}"},
        ["model.safetensors.index.json", "names nothing"],
    ),
    "index out of the folder": (
        {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../x"}}', "../x": b"x"},
        ["names ../x"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_repository_that_cannot_be_measured_is_refused(
    mistake: str, study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    files, parts = MISTAKES[mistake]
    hub.repository("owner/model-1B").commit(files, branch="v1")
    error = refused(capsys, study)
    for part in ("owner/model-1B@v1", *parts):
        assert part in error


def test_a_repository_that_does_not_exist_is_refused(
    study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.repositories["models/owner/model-1B"]
    error = refused(capsys, study)
    assert "owner/model-1B@v1" in error
    assert "no such repository, or it is private" in error


def test_a_revision_that_does_not_exist_is_refused(
    study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.repository("owner/model-1B").branches["v1"]
    assert "no such revision" in refused(capsys, study)


def test_an_interruption_leaves_the_lock_file_as_it_was(
    study: Path, commits: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    main(["pin", str(study)])
    monkeypatch.setattr("maxact.hub.pin.write_atomically", interrupted)
    assert "interrupted; it is as it was" in refused(capsys, study)


def test_a_damaged_lock_file_is_said(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock_file(study).write_text("{", encoding="utf-8")
    assert "not a lock file; delete it" in refused(capsys, study)


def test_code_at_the_top_of_a_repository_is_pinned_like_its_other_files(
    hub: Hub, study: Path, commits: dict[str, str]
) -> None:
    hub.repository("owner/model-1B").commit(FILES | {"modeling.py": b"1", "tools/more.py": b"2"}, branch="v1")
    assert main(["pin", str(study)]) == 0
    files = pinned(study)["models"]["owner/model-1B@v1"]["files"]
    assert set(files) == {"config.json", "model.safetensors", "modeling.py", "tokenizer.json"}


@pytest.mark.parametrize("later", [False, True])
def test_a_checkpoint_and_a_tokenizer_of_one_revision_share_a_pin_that_serves_both(
    later: bool, study: Path, commits: dict[str, str]
) -> None:
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    checkpoint = config["checkpoints"].pop()
    config["tokenizers"]["counting"] |= {"repository": "owner/model-1B", "revision": "v1"}
    family = config["families"].pop("model")
    if later:  # pinned for the tokenizer alone
        study.write_text(yaml.safe_dump(config), encoding="utf-8")
        assert main(["pin", str(study)]) == 0
        assert set(pinned(study)["models"]["owner/model-1B@v1"]["files"]) == {"tokenizer.json"}
    config["checkpoints"].append(checkpoint)
    config["families"]["model"] = family
    study.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["pin", str(study)]) == 0
    wanted = {"config.json", "model.safetensors", "tokenizer.json"}
    assert set(pinned(study)["models"]["owner/model-1B@v1"]["files"]) == wanted


@pytest.mark.parametrize("repository", ["owner/a--b", "owner/.git", "owner/m.", "owner/-x"])
def test_a_name_that_no_hub_has_is_one_line(
    repository: str, study: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    config["checkpoints"][-1]["source"]["repository"] = repository
    study.write_text(yaml.safe_dump(config), encoding="utf-8")
    hub.repository("owner/text", "datasets").commit({"data.parquet": b"x"})
    hub.repository("owner/tokenizer").commit({"tokenizer.json": b"{}"})
    assert "not a name that a hub can have" in refused(capsys, study)


def test_a_file_whose_name_cannot_be_pinned_is_refused_before_it_is_in_the_lock_file(
    study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repository("owner/model-1B").commit(FILES | {"my code.py": b"1"}, branch="v1")
    assert "'my code.py', a name that cannot be pinned" in refused(capsys, study)
    assert not lock_file(study).exists()


def test_the_size_of_a_checkpoint_is_pinned_from_headers_alone(
    study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 512}
    header = json.dumps({"a": {"dtype": "BF16", "shape": [64, 512], "data_offsets": [0, 65536]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(65536)
    files = FILES | {"config.json": json.dumps(config).encode(), "model.safetensors": weights}
    hub.repository("owner/model-1B").commit(files, branch="v1")
    for ranges in (True, False):
        hub.ranges, before = ranges, hub.sent
        assert main(["pin", "--again", str(study)]) == 0
        shape = pinned(study)["models"]["owner/model-1B@v1"]["shape"]
        assert (shape["parameters"], shape["layers"], shape["intermediate_size"]) == (64 * 512, 2, 256)
        assert not ranges or hub.sent - before < 10_000
    model = load_study(study).checkpoint("model-1B").source
    assert isinstance(model, HubSource)
    assert model.pin
    assert model.pin.shape
    assert "its size is not told" not in capsys.readouterr().err


def test_a_lock_file_of_before_gets_sizes_and_keeps_its_commits(
    study: Path, commits: dict[str, str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["pin", str(study)])
    assert "checkpoints.model-1B: its size is not told" in capsys.readouterr().err
    lock = pinned(study)
    assert lock["models"]["owner/model-1B@v1"].pop("shape") is None
    lock_file(study).write_text(json.dumps(lock), encoding="utf-8")
    hub.repository("owner/model-1B").commit(FILES | {"config.json": b'{"a": 1}'}, branch="v1")
    main(["pin", str(study)])
    assert pinned(study)["models"]["owner/model-1B@v1"]["commit"] == commits["model"]
    assert "shape" in pinned(study)["models"]["owner/model-1B@v1"]
