"""Published results from a repository: pinned, downloaded with resume, compared with their digests, or one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from published.tree import made, study

from hub.server import Hub
from maxact.cli import main
from maxact.errors import UnavailableError, UserError
from maxact.hub.github import fetch_files, pin_results
from maxact.published.files import read_tree
from maxact.published.listing import file_digests
from maxact.study.hub import FilePin
from maxact.study.pins import lock_file
from maxact.study.published import PublishedSource

NAME = "someone/results"


@pytest.fixture
def source(hub: Hub) -> PublishedSource:
    """A repository with the results of made-up models, and other files."""
    files = {f"results/{path}": json.dumps(content).encode() for path, content in made().items()}
    files |= {"README.md": b"read me", "results/supplementary/exp_A/a_s2_r1_activation_stats.json": b"{}"}
    commit = hub.repository(NAME).commit(files)
    return PublishedSource(repository=NAME, commit=commit, directory="results")


def pins(source: PublishedSource) -> dict[str, FilePin]:
    return {f"results/{path}": FilePin(**pin) for path, pin in pin_results(source)["files"].items()}


def test_the_result_files_of_the_commit_and_no_others_are_pinned_and_taken(
    hub: Hub, source: PublishedSource, tmp_path: Path
) -> None:
    pinned = pins(source)
    assert set(pinned) == {f"results/{path}" for path in made()}
    fetch_files(NAME, source.commit, pinned, tmp_path)
    assert read_tree(tmp_path / "results").problems == ()
    found = file_digests(tmp_path / "results")
    assert {f"results/{path}": f"sha256:{digest}" for path, digest in found.items()} == {
        path: pin.digest for path, pin in pinned.items()
    }
    hub.requests.clear()
    fetch_files(NAME, source.commit, pinned, tmp_path)
    assert hub.requests == []


def test_a_broken_connection_is_gone_on_with(
    hub: Hub, source: PublishedSource, waits: list[float], tmp_path: Path
) -> None:
    pinned = pins(source)
    hub.breaks, hub.failures = [1000], [(503, {})]
    hub.requests.clear()
    fetch_files(NAME, source.commit, pinned, tmp_path)
    assert read_tree(tmp_path / "results").problems == ()
    assert "bytes=1000-" in [asked for _, asked in hub.requests]
    assert len(waits) == 2


def test_other_bytes_than_the_pinned_are_refused(hub: Hub, source: PublishedSource, tmp_path: Path) -> None:
    pinned = pins(source)
    path = "results/Small/json/small-1b_activation_stats.json"
    hub.damaged.add(path)
    with pytest.raises(UserError, match=rf"{path} has sha256:\w+, the lock file pins sha256:"):
        fetch_files(NAME, source.commit, pinned, tmp_path)
    assert not (tmp_path / path).exists()


def test_a_file_that_is_not_there_names_its_address_and_the_other_way(source: PublishedSource, tmp_path: Path) -> None:
    pinned = {"results/none.json": FilePin(size=3, digest="sha256:" + "0" * 64)}
    with pytest.raises(UserError) as found:
        fetch_files(NAME, source.commit, pinned, tmp_path)
    assert "results/none.json answers HTTP 404; mend the study's `published`, or name a folder" in str(found.value)
    assert "\n" not in str(found.value)


def test_an_address_that_cannot_be_reached_is_one_line(
    source: PublishedSource, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = pins(source)
    monkeypatch.setenv("MAXACT_GITHUB_RAW", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError) as found:
        fetch_files(NAME, source.commit, pinned, tmp_path)
    assert "cannot be reached or is busy" in str(found.value)
    assert "--config published_results=FOLDER" in str(found.value)


def test_maxact_pin_writes_the_lock_file_of_a_published_study(
    hub: Hub, source: PublishedSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    config = study()
    config["published"]["commit"] = source.commit
    file.write_text(yaml.safe_dump(config))
    assert main(["pin", str(file)]) == 0
    lock = json.loads(lock_file(file).read_text())
    assert set(lock["published"][f"{NAME}@{source.commit}"]["files"]) == set(made())
    hub.requests.clear()
    assert main(["pin", str(file)]) == 0
    assert hub.requests == []


def test_a_commit_without_results_is_one_line(source: PublishedSource) -> None:
    with pytest.raises(UserError, match="no result files in elsewhere"):
        pin_results(PublishedSource(repository=NAME, commit=source.commit, directory="elsewhere"))
    with pytest.raises(UserError, match="answers HTTP 404"):
        pin_results(PublishedSource(repository="no/one", commit=source.commit, directory="results"))
