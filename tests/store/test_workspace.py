"""One run at a time in a study's folder; a run that was killed holds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.store.workspace import hold_workspace

HOLDER = "import sys; from pathlib import Path; from maxact.store.workspace import hold_workspace; import time\n"
HOLDER += "hold_workspace(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another run of this study is at work \(process {holder.pid} on \S+\)"):
            hold_workspace(tmp_path)
        holder.kill()
    hold_workspace(tmp_path)
