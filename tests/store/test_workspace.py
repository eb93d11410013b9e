"""One run at a time in a study's folder, or any number of readers; a run that was killed holds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.store.workspace import hold_workspace, refuse_unquotable

HOLDER = "import sys; from pathlib import Path; from maxact.store.workspace import hold_workspace; import time\n"
HOLDER += "hold_workspace(Path(sys.argv[1]), to_read='to read' in sys.argv); print('held', flush=True); time.sleep(600)"


def refusal(holder: subprocess.Popen[str]) -> str:
    return rf"another run or command is at work on this study \(process {holder.pid} on \S+\); wait for it or stop it"


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for to_read in (False, True):
            with pytest.raises(UserError, match=refusal(holder)):
                hold_workspace(tmp_path, to_read)
        holder.kill()
    hold_workspace(tmp_path)


def test_a_study_is_read_by_several_at_once_and_no_run_starts_meanwhile(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "to read"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second,
    ):
        for reader in (first, second):
            assert reader.stdout is not None
            assert reader.stdout.readline() == "held\n"
        first.kill()
        first.wait()
        with pytest.raises(UserError, match="another run or command is at work on this study"):
            hold_workspace(tmp_path)
        second.kill()
    hold_workspace(tmp_path)


@pytest.mark.parametrize("name", ["my work", "o'brien", "a&b", "x(1)", "tab\there", "$HOME"])
def test_a_folder_that_a_shell_would_take_apart_is_refused(name: str) -> None:
    refuse_unquotable(["/srv/jürgen/日本-1.2_x+y@z=a,b:c%d/maxact", Path("/usr/bin/python3.11")])
    with pytest.raises(UserError, match="move the checkout") as refused:
        refuse_unquotable(["/usr/bin/python3.11", f"/srv/{name}/maxact"])
    assert str(refused.value).startswith(f"/srv/{name}/maxact: ")
