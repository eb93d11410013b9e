"""`maxact plan`: every job in a table with totals, also of what is not pinned, and nothing is written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from needs.test_jobs import QWEN_32B, REPOSITORY

from maxact.cli import main
from maxact.study.named import claim_name
from maxact.study.pins import lock_file


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "paper.yaml"
    file.write_text((REPOSITORY / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return file


def pin(study: Path, size: int = 65_527_752_704) -> None:
    """As if every checkpoint were a Qwen2.5-32B."""
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    files = {"model.safetensors": {"size": size, "digest": f"sha256:{'0' * 64}"}}
    found = {"commit": "0" * 40, "licence": "mit", "files": files, "shape": QWEN_32B.model_dump()}
    names = [f"{checkpoint['source']['repository']}@main" for checkpoint in config["checkpoints"]]
    lock_file(study).write_text(json.dumps({"models": dict.fromkeys(names, found), "datasets": {}}), encoding="utf-8")


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_what_is_not_pinned_is_said_to_be_unknown(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = planned(capsys, str(paper))
    (line,) = [line for line in text.splitlines() if line.startswith("Qwen3-8B ") and " measure " in line]
    assert line.endswith("unknown until pinned (maxact pin)")
    assert "GPU-hours: 0.0 expected of the jobs whose size is known" in text
    assert "unknown: 27 checkpoints (Qwen2.5-1.5B, Qwen2.5-7B, Qwen2.5-32B, ...)" in text
    assert sorted(path.name for path in paper.parent.iterdir()) == ["paper.yaml"]


def test_totals_are_sums_of_the_lines(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(paper)
    found: dict[str, Any] = json.loads(planned(capsys, str(paper), "--json"))
    own = [line for line in found["lines"] if line["stage"] not in ("variant", "sensitivity")]
    running = ("measure", "evaluate", "loading_check", "perplexity", "paper_check")
    measuring = [line for line in own if line["stage"] in running]
    assert len(measuring) == 108 + 8
    expected = sum(line["needs"]["gpus"] * line["needs"]["expected_minutes"] for line in measuring) / 60
    assert found["gpu_hours"] == pytest.approx(expected)
    assert found["gpu_hours"] < found["gpu_hours_asked"]
    weights = 27 * 65.527752704
    assert found["peak_disk_gb"] == pytest.approx(weights + found["final_disk_gb"])
    assert found["unknown"] == []
    text = planned(capsys, str(paper))
    assert f"GPU-hours: {found['gpu_hours']:,.1f} expected, {found['gpu_hours_asked']:,.1f} asked for at most" in text
    assert "they go when measured" in text


def test_shards_are_suggested_where_a_measurement_takes_long(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measuring(stage: str) -> dict[str, Any]:
        lines = json.loads(planned(capsys, str(paper), "--json"))["lines"]
        (line,) = [line for line in lines if (line["checkpoint"], line["stage"]) == ("Qwen3-8B", stage)]
        return dict(line)

    pin(paper)
    whole = measuring("measure")
    number = math.ceil(whole["needs"]["expected_minutes"] / 240)
    assert whole["remark"] == f"shards: {number} would take about 4 hours each"
    assert number > 2
    config = yaml.safe_load(paper.read_text(encoding="utf-8"))
    next(item for item in config["checkpoints"] if item["name"] == "Qwen3-8B")["shards"] = number
    paper.write_text(yaml.safe_dump(config), encoding="utf-8")
    pin(paper)
    part = measuring("shard")
    assert (part["jobs"], part["remark"], measuring("measure")["remark"]) == (number, "", "")
    assert part["needs"]["expected_minutes"] < 250


def test_kept_weights_stay_on_disk(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(paper)
    paper.write_text(paper.read_text().replace("keep_weights: false", "keep_weights: true"), encoding="utf-8")
    found = json.loads(planned(capsys, str(paper), "--json"))
    assert found["final_disk_gb"] == found["peak_disk_gb"] > 27 * 65


def test_devices_that_are_too_small_for_one_pass_are_told(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(paper)
    with paper.open("a", encoding="utf-8") as stream:
        stream.write("resources: {gpu_memory_gb: 12}\n")
    assert "more than a GPU of 12 GB has" in planned(capsys, str(paper))


def test_jobs_of_another_target_are_listed_and_not_counted(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(paper)
    text = planned(capsys, str(paper))
    assert all("snakemake sensitivity" in line for line in text.splitlines() if " variant " in line)
    config = yaml.safe_load(paper.read_text(encoding="utf-8"))
    del config["sensitivity"]
    paper.write_text(yaml.safe_dump(config), encoding="utf-8")
    shorter = planned(capsys, str(paper))
    totals = [line for line in text.splitlines() if line.startswith(("GPU-hours", "disk"))]
    assert all(line in shorter for line in totals)


def test_the_pocket_study_needs_no_gpu_and_knows_planted_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    text = planned(capsys, str(REPOSITORY / "studies/pocket.yaml"), "--store", "none")
    assert "GPU-hours: 0.0" in text
    assert "unknown: 2 checkpoints (SmolLM2-135M-Instruct, gemma-3-270m)" in text


def test_a_name_that_another_study_has_taken_is_one_line_beside_the_plan(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = planned(capsys, str(paper))
    name = yaml.safe_load(paper.read_text(encoding="utf-8"))["study"]
    claim_name(name, [paper], Path("artifacts", name))
    copy = paper.with_name("copy.yaml")
    copy.write_text(paper.read_text(encoding="utf-8") + "resources: {gpu_memory_gb: 40}\n", encoding="utf-8")
    assert main(["plan", str(copy)]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"warning: paper.yaml and copy.yaml are two studies with one name, `study: {name}`")
    assert planned(capsys, str(paper)) == text


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"gpus": 0}, "resources.gpus"),
        ({"memory": 3}, "resources.memory"),
        ({"minutes": -1}, "resources.minutes"),
        ({"disk_gb": float("inf")}, "resources.disk_gb"),
    ],
)
def test_a_mistake_in_resources_is_one_line(
    resources: dict[str, Any], told: str, paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(paper.read_text(encoding="utf-8"))
    config["checkpoints"][0]["resources"] = resources
    paper.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["plan", str(paper)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert told in error
