"""The command `maxact`, whichever of its commands is meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maxact.cli import COMMANDS, main

HEAVY = ("torch", "pandas", "numpy", "pydantic", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["measure", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    for name in HEAVY:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", "from maxact.cli import entry; entry()", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "maxact" in done.stdout


def test_every_module_of_a_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(COMMANDS[0].__file__).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__", "options", "told"}
    assert {command.__name__.rpartition(".")[2] for command in COMMANDS} == modules
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for name in modules - {"unpack"} | {"import"}:
        assert f"\n    {name} " in told


def test_the_digest_of_a_folder_is_what_a_study_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    assert main(["digest", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.strip()) == 64


def test_output_that_nobody_reads_any_more_is_no_traceback() -> None:
    script = "import sys; from maxact import cli; cli._parser = lambda: P(); cli.entry()"
    options = "run=lambda options: [print('x' * 1000) for _ in range(1000)] and 0"
    given = f"import argparse\nclass P:\n def parse_args(self, _): return argparse.Namespace({options})\n"
    command = [sys.executable, "-c", f"{given}{script}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
