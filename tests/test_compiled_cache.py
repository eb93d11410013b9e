"""numba compiles for a user who can write neither the code's folder nor a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maxact.compiled_cache import give_numba_a_place

CODE = Path(__file__).parents[1] / "workflow_scripts"
COMPILED = "from maxact.measure.exact_sums import add"
GIVEN = f"import os; from maxact.compiled_cache import give_numba_a_place as give; give(); {COMPILED}"


def as_nobody(script: str, home: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": str(CODE)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root becomes another user, by setpriv"
)
def test_a_user_who_can_write_nothing_compiles_in_a_place_that_goes_with_the_process(tmp_path: Path) -> None:
    """There is no home, or it is another's, who lets nobody look into it: root's in many images."""
    if as_nobody("import numba, maxact", "/nonexistent").returncode != 0:
        pytest.skip("the checkout and its environment are not for all users")
    assert "no locator available" in as_nobody(COMPILED, "/nonexistent").stderr
    tmp_path.chmod(0o700)
    for home, script in (("/nonexistent", GIVEN), (str(tmp_path / "home"), GIVEN.removesuffix(COMPILED) + "pass")):
        done = as_nobody(f"{script}; print(os.environ['NUMBA_CACHE_DIR'])", home)
        assert done.returncode == 0, done.stderr
        assert not Path(done.stdout.strip()).exists()


def test_a_user_without_a_home_gets_no_folder_of_that_name_where_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """~ stays ~, which numba would make in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that it is as it was after the test
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    (tmp_path / "file").touch()
    give_numba_a_place(code=tmp_path / "file" / "none")
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_dir()


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_cache_that_can_be_written_is_left_to_numba(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "file").touch()
    give_numba_a_place(code=tmp_path / "file" / "none")
    assert "NUMBA_CACHE_DIR" not in os.environ
