"""A study whose checkpoint comes from the hub: pinned, downloaded once, dropped where it is not kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.server import Hub, Serving
from workflow.harness import Run, Workspace, copy_of

from maxact.cli import main
from maxact.store.objects import Manifest, Store
from maxact.store.verify import faults

NAME, REPOSITORY = "from-the-hub", "owner/qwen2-tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Serving(Hub()) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


@pytest.fixture
def with_hub(finished: tuple[Workspace, Run], hub: Hub, tmp_path: Path) -> Workspace:
    """The small study with one checkpoint more: its own planted one, as a repository of the hub."""
    workspace = copy_of(finished[0], tmp_path / "checkout")
    store = Store(workspace.folder / "artifacts")
    artifacts = workspace.folder / "artifacts" / "small"
    planted = Manifest.read(artifacts / "checkpoint" / "planted-qwen2.json")
    tokenizer = Manifest.read(artifacts / "tokenizer" / "qwen-style.json")
    objects = {**planted.objects, **tokenizer.objects}
    hub.repository(REPOSITORY).commit({name: store.path(item).read_bytes() for name, item in objects.items()})
    workspace.study["families"]["hub"] = {"model_type": "qwen2", "tokenizer": NAME}
    workspace.study["checkpoints"].append(
        {
            "name": NAME,
            "family": "hub",
            "source": {"kind": "hub", "repository": REPOSITORY},
            "perplexity_ceiling": 1e9,  # it is untrained
        }
    )
    return workspace


def pin(workspace: Workspace) -> None:
    workspace.write()
    assert main(["pin", str(workspace.folder / "study.yaml")]) == 0


def downloads(hub: Hub) -> list[str]:
    return [path.rpartition("/")[2] for path, _ in hub.requests if "/resolve/" in path]


def test_nothing_runs_until_everything_is_pinned(with_hub: Workspace, hub: Hub) -> None:
    run = with_hub.snakemake(check=False)
    assert run.returncode != 0
    assert run.computed == []
    assert "1 source is not pinned to a commit and digests; run `maxact pin study.yaml`" in run.output
    assert f"checkpoints.{NAME}: {REPOSITORY}@main" in run.output
    assert "Traceback" not in run.output
    assert hub.requests == []
    dry = with_hub.snakemake("-n")
    assert dry.returncode == 0
    assert f"artifacts/small/measure/{NAME}.json" in dry.output


def test_weights_are_downloaded_once_and_never_for_a_hit(with_hub: Workspace, hub: Hub, tmp_path: Path) -> None:
    with_hub.study["keep_weights"] = False
    pin(with_hub)
    hub.requests.clear()  # of the headers of weights, which pinning reads
    run = with_hub.snakemake()
    assert {f"checkpoint/{NAME}", f"measure/{NAME}", f"loading_check/{NAME}"} <= set(run.computed)
    assert downloads(hub).count("model.safetensors") <= 1  # not at all where the store has these bytes
    manifest = Manifest.read(with_hub.folder / "artifacts/small/checkpoint" / f"{NAME}.json")
    commit = hub.repository(REPOSITORY).branches["main"]
    assert manifest.summary["source"] == f"{REPOSITORY}@{commit}"
    assert manifest.summary["licence"] == "apache-2.0"

    # The planted checkpoint has the same bytes and is of the same study, so they are gone for both.
    store = Store(with_hub.folder / "artifacts")
    assert not store.path(manifest.objects["model.safetensors"]).exists()
    assert store.path(manifest.objects["tokenizer.json"]).exists()
    assert list(faults(store)) == []

    hub.requests.clear()
    shutil.rmtree(with_hub.folder / "artifacts/small/measure")
    hits = with_hub.snakemake()
    assert hits.computed == []
    with_hub.study["quantize"]["formats"] = ["int6"]
    assert f"quantize/{NAME}" in with_hub.snakemake().computed
    assert hub.requests == []

    with_hub.study["checkpoints"][-1]["perplexity_ceiling"] = 2e9
    again = with_hub.snakemake()
    assert f"loading_check/{NAME}" in again.computed
    assert downloads(hub).count("model.safetensors") == 1
    assert not store.path(manifest.objects["model.safetensors"]).exists()


def test_weights_that_another_study_keeps_stay(with_hub: Workspace, hub: Hub) -> None:
    pin(with_hub)
    shutil.copy(with_hub.folder / "study.lock.json", with_hub.folder / "other.lock.json")
    process = with_hub.start()
    process.communicate()
    with_hub.study = {**with_hub.study, "study": "other", "keep_weights": False}
    process = with_hub.start(study="other.yaml")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    manifest = Manifest.read(with_hub.folder / "artifacts/other/checkpoint" / f"{NAME}.json")
    assert Store(with_hub.folder / "artifacts").is_whole(manifest.objects["model.safetensors"])


def test_another_architecture_is_refused_before_the_weights_are_downloaded(with_hub: Workspace, hub: Hub) -> None:
    with_hub.study["families"]["hub"]["model_type"] = "llama"
    pin(with_hub)
    hub.requests.clear()
    run = with_hub.snakemake(check=False)
    assert run.returncode != 0
    assert f"checkpoint {NAME}: model_type is 'qwen2', its family declares 'llama'" in run.output
    assert downloads(hub) == ["config.json"]


def test_a_checkpoint_without_access_stops_with_its_licence_page(with_hub: Workspace, hub: Hub) -> None:
    pin(with_hub)
    hub.repository(REPOSITORY).gated = True
    run = with_hub.snakemake(check=False)
    assert run.returncode != 0
    assert f"accept its licence at {hub.address}/{REPOSITORY}" in run.output
    assert "Traceback" not in run.output


def test_a_lock_file_of_another_revision_pins_nothing(with_hub: Workspace, hub: Hub) -> None:
    pin(with_hub)
    with_hub.study["checkpoints"][-1]["source"]["revision"] = "v2"
    run = with_hub.snakemake(check=False)
    assert f"{REPOSITORY}@v2" in run.output
    assert run.computed == []


def test_one_checkpoint_of_the_hub_is_measured_outside_a_study(
    with_hub: Workspace, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox.\njumps over the lazy dog.\n", encoding="utf-8")
    assert main(["measure", f"hf:{REPOSITORY}@main", "--text", str(text), "--json"]) == 0
    commit = hub.repository(REPOSITORY).branches["main"]
    assert json.loads(capsys.readouterr().out)["checkpoint"] == f"{REPOSITORY}@{commit}"
    assert main(["measure", f"hf:{REPOSITORY}@v9", "--text", str(text)]) == 2
    assert "no such revision" in capsys.readouterr().err
    assert main(["measure", "hf:nothing", "--text", str(text)]) == 2
    assert "not a repository of the hub" in capsys.readouterr().err
