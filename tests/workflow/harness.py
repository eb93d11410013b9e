"""A small study that is run by the real Snakemake: the pocket study with short samples, in a folder of its own."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from once import made_once

REPOSITORY = Path(__file__).parents[2]
SMALL = ("SmolLM2-135M-Instruct", "planted-qwen2", "planted-qwen3-moe")
EVALUATED = ("SmolLM2-135M-Instruct", "planted-qwen3-moe")
PROBED = 3
"""Samples of a measurement's probe: one of each split."""
CHECKOUT = ("Snakefile", ".gitignore", "rules", "profiles", "envs", "workflow_scripts", "studies")
UNFINISHED = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")
"""What Python and numba write beside the code while another worker imports it, and rename: it may be gone when it is copied."""


@dataclass
class Run:
    """What one call of Snakemake did."""

    returncode: int
    output: str
    computed: list[str]
    """Actions computed (not taken from the store), as stage/name, in order of name."""
    actions: set[str]
    """Keys of action records that are new."""
    forward_passes: int
    started: list[str]
    """Rules of the jobs that were started, hits included."""


@dataclass
class Workspace:
    """A checkout with a study in it."""

    folder: Path
    study: dict[str, Any] = field(default_factory=dict)

    def journal(self) -> list[dict[str, Any]]:
        file = self.folder / "artifacts" / "journal.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def actions(self) -> set[str]:
        return {path.stem for path in (self.folder / "artifacts" / "actions").glob("*.json")}

    def maxact(self, *arguments: str, returncode: int = 0) -> str:
        """What the command prints, run in this folder with this checkout's code; on standard error where it fails."""
        self.write()
        environment = os.environ | {"PYTHONPATH": str(self.folder / "workflow_scripts")}
        command = [sys.executable, "-c", "from maxact.cli import entry; entry()", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr)  # pytest shows it where the test fails
        assert done.returncode == returncode, done.stderr
        return done.stdout or done.stderr

    def snakemake(self, *arguments: str, check: bool = True) -> Run:
        """Run Snakemake on the study in this folder, as a user would, with this checkout's code."""
        lines, actions = len(self.journal()), self.actions()
        with self.start(*arguments) as process:
            output, _ = process.communicate()
        print(output)  # pytest shows it where the test fails
        if check:
            assert process.returncode == 0, output
        new = self.journal()[lines:]
        return Run(
            returncode=process.returncode,
            output=output,
            computed=sorted(f"{line['stage']}/{line['name']}" for line in new),
            actions=self.actions() - actions,
            forward_passes=sum(line["costs"].get("forward_passes", 0) for line in new),
            started=re.findall(r"^(?:local)?rule (\S+):", output, re.MULTILINE),
        )

    def write(self, study: str = "study.yaml") -> None:
        """Write the study's file, unless it is as it should be: another worker may be reading it."""
        file, text = self.folder / study, yaml.safe_dump(self.study, sort_keys=False)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")

    def start(self, *arguments: str, study: str = "study.yaml") -> subprocess.Popen[str]:
        """Start Snakemake by its path, as the README does, with the processes of its jobs in a group of their own."""
        self.write(study)
        environment = os.environ | {"PYTHONPATH": str(self.folder / "workflow_scripts")}
        if "HF_ENDPOINT" not in environment:
            environment["HF_HUB_OFFLINE"] = "1"
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "snakemake"), "--configfile", study, "--cores", "2", *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def printed(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What runs at once print, to the end of each. They are read together: one that nobody reads would stop, holding locks."""
    with ThreadPoolExecutor(len(processes)) as pool:
        return [output for output, _ in pool.map(subprocess.Popen.communicate, processes)]


def kill_when(process: subprocess.Popen[str], reached: Callable[[], object]) -> None:
    """Kill a run with all its jobs, once that is true; it may not end before."""
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def checkout(folder: Path) -> Path:
    """Copies in `folder` of what a checkout has that a run reads."""
    for name in CHECKOUT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=UNFINISHED)
        else:
            shutil.copy2(source, folder / name)
    reports = folder / "reports"
    reports.mkdir()
    shutil.copytree(REPOSITORY / "reports" / "captions", reports / "captions")
    shutil.copy2(REPOSITORY / "reports" / "workflow.rst", reports)
    return folder


def hold_after_saving(workspace: Workspace) -> Path:
    """Have measurements save what they have seen after each sample, and go on when the file that is returned is gone."""
    code, held = workspace.folder / "workflow_scripts/maxact/measure/run.py", workspace.folder / "held"
    text, saved = code.read_text(encoding="utf-8"), "                saved = time.monotonic()\n"
    assert "SAVE_SECONDS = 30.0" in text
    assert saved in text
    wait = "                while Path('held').exists():\n                    time.sleep(0.02)\n"
    code.write_text(text.replace("SAVE_SECONDS = 30.0", "SAVE_SECONDS = 0.0").replace(saved, saved + wait))
    held.touch()
    return held


def small_study() -> dict[str, Any]:
    """The pocket study cut down: eight short samples, its real checkpoint and two of its planted ones."""
    study = yaml.safe_load((REPOSITORY / "studies" / "pocket.yaml").read_text(encoding="utf-8"))
    study["study"] = "small"
    del study["sensitivity"]
    study["measure"]["threads"] = 1  # two would wait for each other where other tests run beside
    study["paper_check"] |= {"checkpoints": [SMALL[0]], "calibration": 3, "evaluation": 4}
    study["corpus"] |= {"samples": 8, "lengths": {16: 1, 32: 3}}
    study["tokens"] |= {"splits": {"calibration": 3, "evaluation": 4}}
    study["loading_check"] |= {"tokens": 30}
    study["perplexity"]["quantizers"] = [
        {"format": "int8", "policy": "max"},
        {"format": "int8", "granularity": "token"},
    ]
    study["checkpoints"] = [item for item in study["checkpoints"] if item["name"] in SMALL]
    kept = {item["family"] for item in study["checkpoints"]}
    study["families"] = {name: family for name, family in study["families"].items() if name in kept}
    study["tokenizers"] = {"qwen-style": study["tokenizers"]["qwen-style"] | {"vocabulary": 1024}}
    study["evaluate"] |= {"checkpoints": list(EVALUATED), "granularities": ["channel", "token"]}
    study["evaluate"]["smooth"] |= {"samples": 3}  # no more than either split has
    study["comparisons"] = {"moe_vs_dense": {"planted": ["planted-qwen2", "planted-qwen3-moe"]}}
    for family in study["families"].values():
        if family.get("marker"):
            family["marker"] |= {"sample": 3, "position": 7}
    for checkpoint in study["checkpoints"]:
        if "perplexity_ceiling" in checkpoint:
            checkpoint["perplexity_ceiling"] = 100000.0  # so few tokens say little
    return study


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    """A copy to experiment with. Objects are read-only, so links to them will do."""
    objects = workspace.folder / "artifacts" / "objects"
    shutil.copytree(
        workspace.folder, folder, ignore=lambda parent, names: ["objects"] if Path(parent) == objects.parent else []
    )
    shutil.copytree(objects, folder / "artifacts" / "objects", copy_function=os.link)
    return Workspace(folder, yaml.safe_load((workspace.folder / "study.yaml").read_text(encoding="utf-8")))


def run_once(
    factory: pytest.TempPathFactory,
    name: str,
    study: dict[str, Any],
    *arguments: str,
    prepare: Callable[[Path], object] = lambda folder: None,
) -> tuple[Workspace, Run]:
    """A workspace in which a study has been run once, for all workers, and what that run did.

    Args:
        factory: pytest's own.
        name: of the fixture.
        study: what is run.
        arguments: of Snakemake.
        prepare: puts into the checkout what the study needs.
    """

    def make(folder: Path) -> None:
        (folder / "checkout").mkdir()
        prepare(checkout(folder / "checkout"))
        (folder / "run.pickle").write_bytes(pickle.dumps(Workspace(folder / "checkout", study).snakemake(*arguments)))

    folder = made_once(factory, name, make)
    return Workspace(folder / "checkout", study), pickle.loads((folder / "run.pickle").read_bytes())
