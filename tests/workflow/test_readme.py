"""Every command of the documentation that starts Snakemake plans what it says, as it is written there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from slurm.submitted import plugin
from workflow.harness import REPOSITORY, checkout

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for file in DOCUMENTS
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith(".venv/bin/snakemake ")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_plans_jobs(command: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    shutil.copy2(REPOSITORY / "config.yaml", folder)
    shutil.copy2(folder / "studies/pocket.yaml", folder / "my_study.yaml")
    shutil.copytree(folder / "profiles/slurm", folder / "profiles/mine")
    paths = [str(folder / "workflow_scripts")]
    if "--profile" in command:
        executor = plugin()
        if executor is None:
            pytest.skip("the executor for SLURM is not installed: make test installs it")
        paths.append(str(executor))
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [str(Path(sys.executable).parent / Path(program).name), *arguments, *([] if "-n" in arguments else ["-n"])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    totals = re.findall(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    assert int(totals[0]) > 1, done.stdout


def test_the_three_ways_to_run_the_study_are_documented() -> None:
    assert len(COMMANDS) >= 5
    assert any("reports/pocket/figures/" in command for command in COMMANDS)
    assert any("--resources gpu=4" in command for command in COMMANDS)
