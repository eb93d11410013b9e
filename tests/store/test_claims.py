"""Machines that share no lock compute a result once: claims in folders, in memory and on a real server of object storage."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
import s3fs
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from maxact.errors import UserError
from maxact.stages import STAGES, Stage
from maxact.store import asking, claims
from maxact.store.exchange import push
from maxact.store.objects import Manifest, Store
from maxact.store.remotes import Folder, open_remote
from maxact.store.run import run_job
from maxact.store.sharing import Shared
from store import toy_stage
from store.in_memory import Atomic, Forgetful
from store.object_storage import PUBLIC

QUICK = {"RENEW_SECONDS": 0.05, "EXPIRES_SECONDS": 60.0, "POLL_SECONDS": 0.02}
"""No thread stands still for as long as a claim counts, however busy the machine is."""


class Expiring(Atomic):
    """Storage whose credentials expire, in the words of S3."""

    protocol = "expiring"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    expired = False

    def put_file(self, *args: Any, **options: Any) -> None:
        self._ask()
        super().put_file(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> None:
        self._ask()
        super().pipe_file(*args, **options)

    def get_file(self, *args: Any, **options: Any) -> None:
        self._ask()
        super().get_file(*args, **options)

    def _ask(self) -> None:
        if type(self).expired:
            answer = {"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}
            raise translate_boto_error(ClientError(answer, "PutObject"))


fsspec.register_implementation("expiring", Expiring, clobber=True)


@pytest.fixture(autouse=True)
def _quick(toy_stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.001)
    for name, seconds in QUICK.items():
        monkeypatch.setattr(claims, name, seconds)


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "far")
    if request.param == "memory":
        Atomic.store.clear()
        return "atomic://far/artifacts"
    request.getfixturevalue("storage")
    s3fs.S3FileSystem.clear_instance_cache()
    return f"s3://{PUBLIC}/{tmp_path.name}"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """Stores of machines that share nothing but the remote."""
    return lambda name: Store(tmp_path / name / "artifacts", Shared(open_remote(url, read_only=False)))


def run(store: Store, **parameters: object) -> Manifest:
    return run_job("first", "a", {"parameters": parameters, "code": "c", "packages": {}}, {}, store)[0]


def at_once(*stores: Store, **parameters: object) -> list[Manifest | UserError]:
    """What machines make of one job that they start at the same time."""
    made: list[Manifest | UserError] = []

    def work(store: Store) -> None:
        try:
            made.append(run(store, **parameters))
        except UserError as error:
            made.append(error)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    assert len(made) == len(stores)
    return made


def claimed(url: str) -> list[dict[str, Any]]:
    """The claims at the far side, in order."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return [json.loads(files.cat_file(path)) for path in sorted(files.glob(f"{root}/claims/*.json"))]


def test_machines_at_once_compute_once(
    machine: Callable[[str], Store],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting, tell = [tmp_path / "one waits", tmp_path / "both wait"], claims._Claim._tell

    def told_first(claim: Any, text: str) -> None:
        tell(claim, text)
        waiting.pop(0).touch()

    monkeypatch.setattr(claims._Claim, "_tell", told_first)
    stores = [machine(name) for name in ("one", "two", "three")]
    made = at_once(*stores, text="x", until=str(waiting[1]))
    assert toy_stage.CALLS == ["a"]
    assert made[0] == made[1] == made[2]
    for store in stores:
        assert all(store.have(item) for item in made[0].objects.values())
    told = capsys.readouterr().err
    assert f"first a: {os.uname().nodename} (process {os.getpid()}) is at it, by its clock since 20" in told
    assert claimed(url) == []


def _hold(url: str, root: Path, started: Path) -> None:
    toy_stage.CALLS.clear()
    STAGES["first"] = Stage("store.toy_stage", {})
    for name, seconds in QUICK.items():
        setattr(claims, name, seconds)
    run(Store(root, Shared(open_remote(url, read_only=False))), text="x", wait=str(started))


@pytest.fixture
def holder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A process of machine `one` that is computing, and would for a minute."""
    context = multiprocessing.get_context("spawn" if url.startswith("s3") else "fork")  # s3fs does not outlive a fork
    started = tmp_path / "started"
    process = context.Process(target=_hold, args=(url, tmp_path / "one" / "artifacts", started))
    process.start()
    while not started.exists():
        assert process.is_alive()
        time.sleep(0.01)
    # Whoever takes over here is not to be killed.
    monkeypatch.setattr(toy_stage, "time", SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic))
    yield process
    process.kill()
    process.join()


class Polls:
    """The clock of one that waits for another process. Between two polls passes most of the time for which a claim counts that
    is not renewed; each ends when that process, if it lives, has renewed its claim."""

    strftime = staticmethod(time.strftime)

    def __init__(self, holder: Any, url: str) -> None:
        self._holder, self._url = holder, url
        self.number = 0

    def monotonic(self) -> float:
        return 0.9 * QUICK["EXPIRES_SECONDS"] * self.number

    def sleep(self, _: float) -> None:
        before = claimed(self._url)
        while self._holder.is_alive() and claimed(self._url) == before:
            time.sleep(0.01)
        self.number += 1


@pytest.mark.parametrize("url", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_killed_machine_is_taken_over_and_a_living_one_is_waited_for(
    holder: Any,
    machine: Callable[[str], Store],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    polls = Polls(holder, url)
    monkeypatch.setattr(claims, "time", polls)
    waiting = threading.Thread(
        target=run, args=(machine("two"),), kwargs={"text": "x", "wait": str(tmp_path / "started")}
    )
    waiting.start()
    while polls.number < 4:
        assert waiting.is_alive()
        time.sleep(0.01)
    assert toy_stage.CALLS == []
    os.kill(holder.pid, signal.SIGKILL)
    waiting.join(timeout=180)
    assert toy_stage.CALLS == ["a"]
    assert f"nothing was heard of {os.uname().nodename} (process {holder.pid}) for 60 s" in capsys.readouterr().err
    assert claimed(url) == []


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_the_machine_whose_job_was_killed_goes_on_at_once(
    holder: Any, machine: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "EXPIRES_SECONDS", 1e9)
    os.kill(holder.pid, signal.SIGKILL)
    run(machine("one"), text="x", wait=str(tmp_path / "started"))
    assert toy_stage.CALLS == ["a"]


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_who_waits_for_one_that_fails_begins_when_it_has(
    machine: Callable[[str], Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "EXPIRES_SECONDS", 1e9)
    made = at_once(machine("one"), machine("two"), text="x", fail=True)
    assert [str(error) for error in made] == ["input.txt: asked to fail"] * 2
    assert toy_stage.CALLS == ["a", "a"]
    assert [claim["ended"] for claim in claimed(url)] == [True, True]
    run(machine("three"), text="x")  # another job is not concerned
    assert len(claimed(url)) == 2


@pytest.mark.parametrize("url", ["folder"], indirect=True)
@pytest.mark.parametrize("text", ["\xff{", "[]", '{"count": 7, "host": "\\n\\u001b[31m"}'])
def test_a_claim_that_this_library_has_not_written_expires(
    text: str,
    machine: Callable[[str], Store],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(claims, "EXPIRES_SECONDS", 0.1)
    key = run(Store(Path(url).parent / "alone"), text="x").key
    Path(url, "claims").mkdir(parents=True)
    Path(url, "claims", f"{key}.1.json").write_bytes(text.encode("latin-1"))
    run(machine("one"), text="x")
    assert toy_stage.CALLS == ["a", "a"]
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 2
    assert "\x1b" not in told


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_claim_whose_answer_was_lost_is_ones_own(
    machine: Callable[[str], Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was repeated below, and the second told that something lies there."""
    create = Folder.create
    monkeypatch.setattr(Folder, "create", lambda *asked: create(*asked) and "claims" not in str(asked[1]))
    monkeypatch.setattr(claims, "EXPIRES_SECONDS", 1e9)
    run(machine("one"), text="x")
    assert toy_stage.CALLS == ["a"]
    assert claimed(url) == []


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_holder_that_was_cut_off_and_goes_on_does_no_harm(
    machine: Callable[[str], Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of the first for too long; both compute, the record of whoever ends first stands, and no claim is left."""
    monkeypatch.setattr(claims, "RENEW_SECONDS", 1e9)
    monkeypatch.setattr(claims, "EXPIRES_SECONDS", 0.1)
    made = at_once(machine("one"), machine("two"), text="x", together=2)
    assert made[0] == made[1]
    assert toy_stage.CALLS == ["a", "a"]
    assert claimed(url) == []


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_place_that_fails_after_the_claim_was_made_leaves_it_ended(
    machine: Callable[[str], Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, looked = machine("one"), []

    def action(key: str) -> None:
        looked.append(key)
        if len(looked) > 1:
            raise UserError("far: out of reach")

    monkeypatch.setattr(store, "action", action)
    with pytest.raises(UserError, match="far: out of reach"):
        run(store, text="x")
    assert [claim["ended"] for claim in claimed(url)] == [True]
    assert toy_stage.CALLS == []


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_place_that_fails_while_it_is_tried_out_leaves_no_claim_that_nobody_renews(
    machine: Callable[[str], Store], url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The claim is made, and the second request, which is to be refused, does not come through."""
    create, asked = Folder.create, []

    def failing(place: Folder, path: str, file: Path) -> bool:
        asked.append(path)
        if "claims" in path and asked.count(path) == 2:
            raise UserError("far: out of reach")
        return create(place, path, file)

    monkeypatch.setattr(Folder, "create", failing)
    run(machine("one"), text="x")
    assert toy_stage.CALLS == ["a"]
    assert claimed(url) == []


def test_a_file_that_a_server_has_replaced_meanwhile_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS 3 says so of a claim that is renewed between its opening and its reading."""
    copy, stale = shutil.copyfile, [OSError(errno.ESTALE, "Stale file handle")]

    def copyfile(*files: Path) -> None:
        if stale:
            raise stale.pop()
        copy(*files)

    (tmp_path / "claim").write_text("{}")
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert Folder("far", tmp_path).fetch("claim", tmp_path / "found")
    stale += [OSError(errno.ESTALE, "Stale file handle") for _ in range(9)]
    with pytest.raises(UserError, match="far: claim cannot be read"):
        Folder("far", tmp_path).fetch("claim", tmp_path / "found")


def test_storage_that_ignores_conditions_has_no_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Forgetful.store.clear()
    far = open_remote("forgetful://far/artifacts", read_only=False)
    made = at_once(*(Store(tmp_path / name, Shared(far)) for name in ("one", "two")), text="x", together=2)
    assert made[0] == made[1]
    assert toy_stage.CALLS == ["a", "a"]
    assert capsys.readouterr().err == ""
    assert claimed("forgetful://far/artifacts") == []


def test_credentials_that_expire_while_it_computes_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They expire once the job has begun, and it ends once its claim could not be renewed."""
    Expiring.store.clear()
    monkeypatch.setattr(Expiring, "expired", False)
    refused, tell = tmp_path / "renewal is refused", claims._Claim._tell

    def expire() -> None:
        while not toy_stage.CALLS:
            time.sleep(0.01)
        Expiring.expired = True

    def told_first(claim: Any, text: str) -> None:
        tell(claim, text)
        refused.touch()

    monkeypatch.setattr(claims._Claim, "_tell", told_first)
    stores = [Store(tmp_path / name, Shared(open_remote("expiring://far", read_only=False))) for name in ("one", "two")]
    threading.Thread(target=expire, daemon=True).start()
    made = run(stores[0], text="x", until=str(refused))
    assert all(stores[0].is_whole(item) for item in made.objects.values())
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("first a: the claim on it cannot be renewed (expiring://far: access is refused (The prov")
    assert told[1].startswith("warning: first/a is made but not given to others (expiring://far: access is refused")
    with pytest.raises(UserError, match="access is refused"):
        run(stores[1], text="x", until=str(refused))
    assert toy_stage.CALLS == ["a"]
    monkeypatch.setattr(Expiring, "expired", False)
    (stores[0].root / "study" / "first").mkdir(parents=True)
    (stores[0].root / "study" / "first" / "a.json").write_text(made.to_json())
    assert push(stores[0]).endswith("has 1 result of this store")
    assert run(stores[1], text="x", until=str(refused)) == made
    assert toy_stage.CALLS == ["a"]


def test_a_network_file_system_whose_locks_others_do_not_see_has_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = iter(range(9))
    monkeypatch.setattr(claims, "of_one_machine", lambda folder: "nolock")
    monkeypatch.setattr(claims, "_identity", lambda lock: f"lock of machine {next(machines)}")
    monkeypatch.setattr(Store, "lock", lambda store, key: nullcontext())
    at_once(*(Store(tmp_path / "artifacts") for _ in range(3)), text="x", seconds=0.3)
    assert toy_stage.CALLS == ["a"]
    assert list((tmp_path / "artifacts" / "claims").iterdir()) == []
