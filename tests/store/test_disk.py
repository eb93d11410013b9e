"""Disks that are full or read-only, file systems without locks, appended lines, clocks that differ."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from maxact.errors import UserError
from maxact.store.disk import missing, telling
from maxact.store.garbage import delete, garbage
from maxact.store.locks import of_one_machine
from maxact.store.objects import Store
from maxact.store.run import run_job, run_rule
from maxact.store.workspace import hold_workspace
from store import toy_stage
from store.test_run import recipe, rule

pytestmark = pytest.mark.usefixtures("toy_stages")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(small_disk: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run_rule(rule(small_disk, text="x", times=1_000_000))
    assert str(caught.value.code).startswith("error: ")
    assert "cannot be written (No space left on device); free space (`maxact gc` shows what no study needs)" in str(
        caught.value.code
    )
    left = [path for path in small_disk.rglob("*") if path.is_file() and path.parent.name not in ("locks", "disk")]
    assert left == []
    run_rule(rule(small_disk, text="x"))  # which there is room for
    assert (small_disk / "reports" / "out.txt").read_text() == "x"


def test_a_disk_that_fills_up_while_the_result_is_stored(small_disk: Path) -> None:
    """There is room for the result, and none to copy it to the report."""
    with pytest.raises(SystemExit) as caught:
        run_rule(rule(small_disk, text="x", times=150_000))
    assert "cannot be written (No space left on device)" in str(caught.value.code)
    assert not (small_disk / "artifacts" / "study" / "first").exists()
    assert [path.name for path in (small_disk / "reports").glob("*")] == []


def _write_safetensors(folder: Path) -> None:
    save_file({"weight": np.zeros(1_000_000)}, folder / "model.safetensors")


def _write_tokenizer(folder: Path) -> None:
    Tokenizer(WordLevel({str(number): number for number in range(30_000)}, "0")).save(str(folder / "tokenizer.json"))


def _write_table(folder: Path) -> None:
    pd.DataFrame({"x": np.random.default_rng(0).random(100_000)}).to_parquet(folder / "x.parquet")


@pytest.mark.parametrize("write", [_write_safetensors, _write_tokenizer, _write_table])
def test_every_library_that_finds_the_disk_full_is_one_line(write: Callable[[Path], None], small_disk: Path) -> None:
    """Those in Rust have exceptions of their own, which say so in their text."""
    with (
        pytest.raises(UserError, match=r"disk: cannot be written \(No space left on device\); free space"),
        telling(small_disk),
    ):
        write(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\); mend"), telling(small_disk):
        write(small_disk)


def test_other_exceptions_are_left_as_they_are() -> None:
    for error in (ValueError("x"), OSError(errno.EIO, "x"), RuntimeError("(os error 2)"), OSError("x")):
        with pytest.raises(type(error)) as caught, telling(Path("x")):
            raise error
        assert caught.value is error


def test_garbage_is_collected_on_a_disk_without_room(small_disk: Path) -> None:
    store = Store(small_disk)
    run_job("first", "a", recipe(text="x", times=100_000), {}, store)
    (small_disk / ".lock").touch()  # as every run has left it
    with suppress(OSError), (small_disk / "filler").open("wb") as filler:
        while filler.write(b"x" * 4096):
            filler.flush()
    assert shutil.disk_usage(small_disk).free == 0
    for path in small_disk.glob("objects/*/*"):
        os.utime(path, (0, 0))
    found = garbage(store, 14)
    delete(store, found)
    assert sorted(item.kind for item in found) == ["object", "object"]
    assert shutil.disk_usage(small_disk).free > 100_000


def test_a_run_on_a_full_disk_is_refused_in_one_line(small_disk: Path) -> None:
    folder = small_disk / "study"
    folder.mkdir()
    for lock in (small_disk / ".lock", folder / ".lock"):
        lock.touch()  # as an earlier run has left them
    with suppress(OSError), (small_disk / "filler").open("wb") as filler:
        while filler.write(b"x" * 4096):
            filler.flush()
    with pytest.raises(UserError, match=r"study/\.lock: cannot be written \(No space left on device\); free space"):
        hold_workspace(folder)


def test_a_read_only_disk_is_one_line(small_disk: Path) -> None:
    job = rule(small_disk, text="x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SystemExit) as caught:
        run_rule(job)
    assert "cannot be written (Read-only file system); mend permissions or the mount" in str(caught.value.code)
    with pytest.raises(UserError, match="Read-only file system"):
        hold_workspace(small_disk / "artifacts" / "study")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_line(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stream: object, mode: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for use in (
        lambda: run_job("first", "a", recipe(text="x"), {}, Store(tmp_path)),
        lambda: hold_workspace(tmp_path / "s"),
    ):
        with pytest.raises(UserError, match=r"its file system has no locks \(.*\); mount it with NFS 4"):
            use()
    assert toy_stage.CALLS == []


MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:40 / /shared rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2,local_lock=none,addr=10.0.0.1
41 21 0:41 / /local rw,relatime shared:3 - nfs server:/export rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
42 21 0:42 / /local/with\\040space rw - nfs server:/export rw,vers=3,local_lock=posix
43 21 0:43 / /lustre rw - lustre mgs:/fs rw,localflock
44 21 0:44 / /local rw - ext4 /dev/vdb rw,nolock
"""


@pytest.mark.parametrize(
    ("folder", "lines", "option"),
    [
        ("/data/store", 6, None),
        ("/shared/store", 6, None),
        ("/local/store", 3, "nolock"),
        ("/local/with space/store", 6, None),
        ("/local/store", 6, None),
        ("/lustre/store", 6, "localflock"),
    ],
)
def test_locks_that_other_machines_do_not_see_are_noticed(
    folder: str, lines: int, option: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("".join(MOUNTS.splitlines(keepends=True)[:lines]))
    assert of_one_machine(Path(folder), mounts) == option
    assert of_one_machine(Path(folder), tmp_path / "none") is None


def test_this_machine_has_a_list_of_mounts_that_can_be_read(tmp_path: Path) -> None:
    assert of_one_machine(tmp_path) is None


def test_a_lock_of_the_store_can_be_shared_where_that_needs_a_file_open_for_reading(tmp_path: Path) -> None:
    """NFS refuses a shared lock on a file that is open for writing only."""
    from maxact.store.environment import _lock_file

    for opened in (_lock_file(tmp_path / "environment"), (tmp_path / "other").open("a+")):
        with opened as stream:
            assert fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def _append(root: Path, number: int) -> None:
    for line in range(50):
        Store(root).journal({"writer": number, "line": line, "text": "x" * 9000})


def test_lines_of_the_journal_do_not_mix(tmp_path: Path) -> None:
    """They are longer than what the kernel appends at once."""
    import json

    writers = [multiprocessing.get_context("fork").Process(target=_append, args=(tmp_path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert sorted((line["writer"], line["line"]) for line in lines) == [(n, i) for n in range(4) for i in range(50)]


def test_garbage_goes_by_the_clock_that_dates_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this machine is a year ahead of the server's."""
    import time

    store = Store(tmp_path)
    first, _ = run_job("first", "a", recipe(text="x"), {}, store)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 365 * 86_400)
    assert garbage(store, 14) == []
    for item in first.objects.values():
        os.utime(store.path(item), (0, 0))
    assert {found.kind for found in garbage(store, 14)} == {"object"}


def test_an_old_object_that_is_made_once_more_is_young_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, _ = run_job("first", "a", recipe(text="x"), {}, store)
    path = store.path(first.objects["out.txt"])
    os.utime(path, (0, 0))
    run_job("first", "b", recipe(text="x", other=True), {}, store)
    assert path.stat().st_mtime > 1_000_000


@pytest.mark.parametrize("arrives", [True, False])
def test_a_rename_that_is_said_to_have_failed_is_looked_at(
    arrives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of NFS is repeated when its answer is lost; the second finds the source gone."""
    replace: Callable[..., None] = os.replace

    def lost(source: Path, target: Path) -> None:
        if arrives:
            replace(source, target)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))

    (tmp_path / "out.txt").write_text("x")
    store = Store(tmp_path / "artifacts")
    monkeypatch.setattr(os, "replace", lost)
    if arrives:
        assert store.is_whole(store.put(tmp_path / "out.txt"))
    else:
        with pytest.raises(UserError, match="cannot be written"):
            store.put(tmp_path / "out.txt")


def test_of_a_copy_the_file_that_is_written_is_told(tmp_path: Path) -> None:
    written = str(tmp_path / "written")
    with pytest.raises(UserError, match=rf"^{written}: cannot be written"), telling(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "read"), None, written)


def test_a_folder_that_may_be_entered_but_not_listed_is_asked_for_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mirror may be. Whoever runs this as root may list everything, so the system's refusal is put in."""
    (tmp_path / "there").touch()

    def refused(folder: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(os, "open", refused)
    assert [missing(tmp_path / name) for name in ("there", "away")] == [False, True]
