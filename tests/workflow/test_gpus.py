"""A study on GPUs, with stand-in devices: who says how many, which job gets which, and what needs none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workflow.harness import Run, Workspace
from workflow.test_bad_input import assert_refused

MARK = '''

def _marked(name: str) -> str:
    """In place of a GPU: nobody else may have the device meanwhile; then the model runs on CPU.

    Those that come first wait for each other, so that both devices are held at one time.
    """
    import os
    import time
    from pathlib import Path

    device, marks = os.environ["CUDA_VISIBLE_DEVICES"], Path(os.environ["MARKS"])
    file = marks / device
    os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    (marks / f"{name}.{device}.had").touch()
    limit = time.monotonic() + 300
    while len({had.name.split(".")[-2] for had in marks.glob("*.had")}) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    file.unlink()
    return "cpu"
'''


@pytest.fixture
def on_gpus(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The small study on two stand-in devices, with nothing of it measured on them yet."""
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("MAXACT_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "fake0,fake1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    workspace.study["measure"] |= {"device": "cuda", "threads": 1}
    return workspace


def test_a_run_that_does_not_say_how_many_gpus_is_refused_before_its_first_job(on_gpus: Workspace) -> None:
    run = on_gpus.snakemake(check=False)
    command = "type: snakemake --configfile study.yaml --cores 2 --resources gpu=2"
    assert_refused(run, "needs 1 GPU, and this run does not say how many", command)
    assert run.started == []


@pytest.mark.parametrize("provided", ["0", "1"])
def test_a_job_that_needs_more_than_the_run_may_use_is_refused(provided: str, on_gpus: Workspace) -> None:
    on_gpus.study["checkpoints"][1]["resources"] = {"gpus": 2}
    run = on_gpus.snakemake("--resources", f"gpu={provided}", check=False)
    command = "type: snakemake --configfile study.yaml --cores 2 --resources gpu=2"
    assert_refused(run, f"planted-qwen2 needs 2 GPUs, and --resources gives gpu={provided}", command)
    assert run.started == []


def test_what_would_run_is_shown_on_a_machine_without_gpus(on_gpus: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for arguments in ([], ["--resources", "gpu=4"]):
        run = on_gpus.snakemake("-n", *arguments)
        assert {"loading_check", "measure"} <= set(run.started)
        assert run.computed == []


def test_a_job_without_a_gpu_is_one_error(on_gpus: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    run = on_gpus.snakemake("--resources", "gpu=1", check=False)
    assert_refused(run, "CUDA_VISIBLE_DEVICES is '-1', which hides every GPU")


def test_jobs_at_once_have_different_devices_and_hits_need_none(
    on_gpus: Workspace, edit: Callable[[str, str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, asked in (
        ("measure/prepare", "parameters"),
        ("loading_check", "asked"),
        ("perplexity/stage", "asked"),
        ("measure/first_lines", "asked"),
    ):
        path = f"workflow_scripts/maxact/{file}.py"
        edit(path, f'{asked}.get("device", "cpu")', "_marked(job.name)")
        with (on_gpus.folder / path).open("a", encoding="utf-8") as stream:
            stream.write(MARK)
    run = on_gpus.snakemake("--resources", "gpu=2")
    assert len([item for item in run.computed if item.startswith(("measure/", "loading_check/"))]) == 4
    had = [file.name.removesuffix(".had").rpartition(".")[2] for file in (tmp_path / "marks").glob("*.had")]
    assert set(had) == {"fake0", "fake1"}

    target = "artifacts/small/measure/planted-qwen2.json"
    (on_gpus.folder / target).unlink()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    again = on_gpus.snakemake(target, "--resources", "gpu=2")
    assert again.started == ["measure"]
    assert again.computed == []


def test_threads_decide_nothing_on_gpus_and_a_device_does(finished: tuple[Workspace, Run], on_gpus: Workspace) -> None:
    stamp = on_gpus.folder / "artifacts/small/keys/measure/planted-qwen2.json"
    on_cpu = stamp.read_text()
    texts = []
    for threads in (1, 2):
        on_gpus.study["measure"]["threads"] = threads
        on_gpus.snakemake("-n")
        texts.append(stamp.read_text())
    assert texts[0] == texts[1] != on_cpu
    assert '"device":"cuda"' in texts[0].replace(" ", "")
    assert "device" not in on_cpu
