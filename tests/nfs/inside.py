"""The store on NFS 4.2, as two machines see it: run by pytest in the machine of `machine.py`, and nowhere else."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from store import toy_stage
from store.test_run import recipe, rule

from maxact.errors import UserError
from maxact.stages import STAGES, Stage
from maxact.store.keys import action_key
from maxact.store.locks import of_one_machine
from maxact.store.objects import Store
from maxact.store.remotes import Folder
from maxact.store.run import restore, run_job, run_rule
from maxact.store.sharing import Shared
from maxact.store.workspace import hold_store, hold_workspace

ONE, TWO = Path("/srv/one"), Path("/srv/two")
"""One folder of the server, as two machines have it."""

SERVER = Path(__file__).with_name("server.sh")
LEASE = 10
"""Seconds for which the server keeps the locks of a machine that it does not hear of, and after its own start those of all."""


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_stage.CALLS.clear()
    monkeypatch.setitem(STAGES, "first", Stage("store.toy_stage", {}))
    monkeypatch.setitem(STAGES, "second", Stage("store.toy_stage", {"first": ("out.*",)}))


@pytest.fixture
def stores() -> Iterator[tuple[Store, Store]]:
    """One store, of two machines."""
    yield Store(ONE / "artifacts"), Store(TWO / "artifacts")
    shutil.rmtree("/srv/disks/store/artifacts", ignore_errors=True)


def start(store: Store, **parameters: object) -> BaseProcess:
    """A process of that store's machine that wants the job of these parameters."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(store, parameters))
    process.start()
    return process


def _run(store: Store, parameters: dict[str, object]) -> None:
    _, computed = run_job("first", "a", recipe(**parameters), {}, store)
    os._exit(10 + computed)


def ended(process: BaseProcess, seconds: float = 30) -> bool:
    """Whether it has computed."""
    process.join(seconds)
    assert process.exitcode in (10, 11), process.exitcode
    return process.exitcode == 11


def wait_for(file: Path) -> None:
    limit = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_both_machines_have_locks_of_the_server(stores: tuple[Store, Store]) -> None:
    for store in stores:
        assert f" {store.root.parent} nfs4 " in Path("/proc/mounts").read_text()
        assert of_one_machine(store.root) is None
    with stores[0].lock("key"), pytest.raises(BlockingIOError), stores[1].lock("key", wait=False):
        pass


def test_machines_at_once_compute_once(stores: tuple[Store, Store]) -> None:
    processes = [start(store, text="x" * 100_000, seconds=0.5) for store in stores * 3]
    assert sorted(map(ended, processes)) == [False] * 5 + [True]
    assert len((stores[1].root / "journal.jsonl").read_text().splitlines()) == 1


def test_a_machine_that_has_just_found_no_record_finds_the_one_made_meanwhile(stores: tuple[Store, Store]) -> None:
    one, two = stores
    remembered = 0
    for number in range(10):
        parameters = recipe(text=f"{number}")
        key = action_key("first", "a", parameters, {})
        assert two.action(key) is None
        made, _ = run_job("first", "a", parameters, {}, one)
        remembered += not (two.root / "actions" / f"{key}.json").exists()  # as its client remembers it
        again, computed = run_job("first", "a", parameters, {}, two)
        assert (again, computed) == (made, False)
    assert remembered > 0


def test_an_object_that_was_lost_is_made_again_once(stores: tuple[Store, Store]) -> None:
    made, _ = run_job("first", "a", recipe(text="x", seconds=0.5), {}, stores[0])
    item = made.objects["out.txt"]
    stores[1].path(item).unlink()
    assert not any(store.is_whole(item) for store in stores)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=restore, args=(made, store)) for store in stores * 2]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(store.is_whole(item) for store in stores)
    assert len((stores[1].root / "journal.jsonl").read_text().splitlines()) == 2


def test_a_folder_as_remote_has_one_machine_compute(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    """Stores of their own; they share what lies on the server, and no lock."""
    remotes = [Folder(str(mount), mount / "artifacts" / "remote") for mount in (ONE, TWO)]
    apart = [Store(tmp_path / f"{n}", Shared(remote, [])) for n, remote in enumerate(remotes)]
    for text in "abc":
        assert remotes[1].size(f"actions/{action_key('first', 'a', recipe(text=text, seconds=0.5), {})}.json") is None
        processes = [start(store, text=text, seconds=0.5) for store in apart]
        assert sorted(map(ended, processes)) == [False, True]
        assert all(run_job("first", "a", recipe(text=text, seconds=0.5), {}, store)[1] is False for store in apart)


def test_a_lock_goes_with_a_process_that_is_killed(stores: tuple[Store, Store], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    first = start(stores[0], text="x", wait=str(begun))
    wait_for(begun)
    key = action_key("first", "a", recipe(text="x", wait=str(begun)), {})
    with pytest.raises(BlockingIOError), stores[1].lock(key, wait=False):
        pass
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    with stores[1].lock(key, wait=False):
        pass


def test_the_locks_of_a_machine_that_is_cut_off_are_anothers_when_its_lease_is_over(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    first = start(stores[0], text="x", until=str(go))
    wait_for(ONE / "artifacts" / "scratch")
    time.sleep(1)
    subprocess.run(["ip", "link", "set", "cable1", "down"], check=True)
    begun = time.monotonic()
    try:
        second = start(stores[1], text="x", until=str(go))
        time.sleep(LEASE / 2)
        go.touch()
        assert ended(second, 60)
        waited = time.monotonic() - begun
    finally:
        subprocess.run(["ip", "link", "set", "cable1", "up"], check=True)
    first.join(60)
    print("waited", waited, "first:", first.exitcode)
    print((stores[1].root / "journal.jsonl").read_text())
    assert waited > LEASE / 2
    for store in stores:
        made, computed = run_job("first", "a", recipe(text="x", until=str(go)), {}, store)
        assert not computed
        assert all(store.is_whole(item) for item in made.objects.values())


def test_locks_outlive_a_restart_of_the_server(stores: tuple[Store, Store]) -> None:
    with stores[0].lock("key"):
        Path("/proc/fs/nfsd/threads").write_text("0")
        subprocess.run(["sh", str(SERVER)], check=True)
        (stores[0].root / "new").write_text("after the restart")  # waits until the server is there again
        with pytest.raises(BlockingIOError), stores[1].lock("key", wait=False):
            pass
    with stores[1].lock("key", wait=False):
        pass


def test_a_study_is_held_against_other_machines(stores: tuple[Store, Store]) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(stores[0].root / "study",))
    process.start()
    wait_for(ONE / "artifacts" / "held")
    try:
        with pytest.raises(
            UserError, match=rf"another run or command is at work on this study \(process {process.pid} on "
        ):
            hold_workspace(TWO / "artifacts" / "study")
        with pytest.raises(UserError, match="a run is at work in this store"):
            hold_store(TWO / "artifacts")
    finally:
        process.kill()
        process.join()


def _hold(folder: Path) -> None:
    hold_workspace(folder)
    (folder.parent / "held").touch()
    time.sleep(60)


def _append(root: Path, number: int) -> None:
    for line in range(30):
        Store(root).journal({"writer": number, "line": line, "text": "x" * 9000})


def test_lines_of_the_journal_do_not_mix(stores: tuple[Store, Store]) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(store.root, n)) for n, store in enumerate(stores)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for line in (stores[0].root / "journal.jsonl").read_text().splitlines()]
    assert sorted((line["writer"], line["line"]) for line in lines) == [(n, i) for n in range(2) for i in range(30)]


def test_an_object_that_was_made_again_under_an_open_file_is_read_by_the_other(stores: tuple[Store, Store]) -> None:
    """The server has another file under the name that the second machine knows (ESTALE, if it asks for the old one)."""
    one, two = stores
    made, _ = run_job("first", "a", recipe(text="x" * 50_000), {}, one)
    item = made.objects["out.txt"]
    with two.path(item).open() as stream:
        assert stream.read(1) == "x"
        one.path(item).chmod(0o644)
        one.path(item).write_text("damaged")
        restore(made, one)
        assert two.is_whole(item)
    assert two.path(item).read_text() == "x" * 50_000
    below, computed = run_job("second", "b", recipe(text="y"), {"first": made}, two)
    assert computed
    assert one.path(below.objects["out.txt"]).read_text() == "y" + "x" * 50_000


@pytest.mark.parametrize("times", [150_000, 1_000_000])
def test_a_full_server_is_one_line_and_leaves_nothing_half_made(times: int) -> None:
    small = Path("/srv/small")
    with pytest.raises(SystemExit) as caught:
        run_rule(rule(small, text="x", times=times))
    assert "cannot be written (No space left on device); free space (`maxact gc` shows what no study needs)" in str(
        caught.value.code
    )
    assert not (small / "artifacts" / "study" / "first").exists()
    assert [path.name for path in (small / "reports").glob("*")] == []
    shutil.rmtree("/srv/disks/small/artifacts")


def test_a_server_that_lets_nobody_write_is_one_line(stores: tuple[Store, Store]) -> None:
    job = rule(ONE, text="x")
    job.output.manifest = job.output[1] = job.output[1].replace("/one/", "/read-only/")
    with pytest.raises(SystemExit) as caught:
        run_rule(job)
    assert "cannot be written (Read-only file system); mend permissions or the mount" in str(caught.value.code)
    with pytest.raises(UserError, match="Read-only file system"):
        hold_workspace(Path("/srv/read-only/artifacts/study"))
