"""What one machine has made another takes: with folders, storage in memory and a web server in the place of the far side."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from maxact.cli import main
from maxact.errors import UserError
from maxact.store import asking
from maxact.store.disk import write_atomically
from maxact.store.exchange import push
from maxact.store.objects import Manifest, Store
from maxact.store.remotes import open_remote
from maxact.store.run import publish, run_job
from maxact.store.sharing import MARKER, Shared
from maxact.store.verify import faults
from store import toy_stage
from store.in_memory import Atomic, Forgetful


@pytest.fixture(autouse=True)
def _here_alone(toy_stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAXACT_REMOTE", "MAXACT_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.001)


@pytest.fixture(params=["folder", "memory", "forgetful"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "far")
    files = Forgetful if request.param == "forgetful" else Atomic
    files.store.clear()
    return f"{files.protocol}://far/artifacts"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """Stores of machines that share nothing but the remote."""
    return lambda name: Store(tmp_path / name / "artifacts", Shared(open_remote(url, read_only=False)))


def run(store: Store, stage: str, inputs: dict[str, Manifest] | None = None, **parameters: object) -> Manifest:
    manifest, _ = run_job(stage, "a", {"parameters": parameters, "code": "c", "packages": {}}, inputs or {}, store)
    write_atomically(store.root / "study" / stage / "a.json", manifest.to_json())
    return manifest


def far(url: str) -> tuple[Any, str]:
    """The far side, by means of its own."""
    files, root = fsspec.core.url_to_fs(url)
    return files, root


def test_what_one_machine_has_made_another_does_not_compute(machine: Callable[[str], Store], tmp_path: Path) -> None:
    made = run(machine("one"), "second", {"first": run(machine("one"), "first", text="x")}, text="y")
    two = machine("two")
    taken = run(two, "second", {"first": run(two, "first", text="x")}, text="y")
    assert taken == made
    assert toy_stage.CALLS == ["a", "a"]
    assert list(two.root.glob("objects/*/*")) == []  # nothing has read them yet
    assert list(faults(two)) == []
    publish(taken, {"out.txt": tmp_path / "out.txt"}, two)
    assert (tmp_path / "out.txt").read_text() == "yx"
    assert [path.name for path in two.root.glob("objects/*/*")] == [taken.objects["out.txt"].sha256 + ".txt"]
    assert list(faults(two)) == []
    assert two.have(taken.objects["extra.txt"])
    assert two.is_whole(taken.objects["extra.txt"])


def test_a_job_takes_the_objects_that_it_reads_and_no_others(machine: Callable[[str], Store]) -> None:
    run(machine("one"), "first", text="x", extra="e")
    two = machine("two")
    first = run(two, "first", text="x", extra="e")
    second = run(two, "second", {"first": first}, text="z")
    assert two.path(second.objects["out.txt"]).read_text() == "zx"
    assert not two.path(first.objects["extra.txt"]).exists()
    assert toy_stage.CALLS == ["a", "a"]


def test_other_bytes_on_the_far_side_are_told_and_not_used(
    machine: Callable[[str], Store], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(machine("one"), "first", text="x")
    files, root = far(url)
    path = f"{root}/{made.objects['out.txt'].path}"
    if isinstance(files, MemoryFileSystem):
        files.pipe_file(path, b"X")
    else:
        Path(path).unlink()
        Path(path).write_bytes(b"X")
    two = machine("two")
    second = run(two, "second", {"first": run(two, "first", text="x")}, text="z")
    assert two.path(second.objects["out.txt"]).read_text() == "zx"
    assert toy_stage.CALLS == ["a", "a", "a"]  # it was made again here
    assert "has other bytes than its name says; it is not used" in capsys.readouterr().err
    assert list(faults(two)) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", "other action", "outside", "\udcff"])
def test_a_record_that_this_library_has_not_written_is_told_and_not_used(
    text: str, machine: Callable[[str], Store], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = machine("one")
    key = run(one, "first", text="x").key
    record = one.action(key)
    assert record is not None
    if text == "other action":
        text = json.dumps(record | {"key": "0" * 64})
    elif text == "outside":
        objects = {name: item | {"suffix": "/../../../x"} for name, item in record["objects"].items()}
        text = json.dumps(record | {"objects": objects})
    files, root = far(url)
    if not isinstance(files, MemoryFileSystem):
        Path(root, "actions", f"{key}.json").chmod(0o644)
    files.pipe_file(f"{root}/actions/{key}.json", text.encode(errors="surrogateescape"))
    run(machine("two"), "first", text="x")
    assert toy_stage.CALLS == ["a", "a"]
    assert f"actions/{key}.json" in capsys.readouterr().err


def test_of_two_that_made_other_bytes_the_first_stands_and_the_second_is_told(
    machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have looked before either had made it; the stage writes what differs between them."""
    one, two = machine("one"), machine("two")
    with monkeypatch.context() as patch:
        patch.setattr(Shared, "record", lambda *_: None)
        patch.setattr("sys.prefix", "of one")
        made = run(one, "first", text="PREFIX")
        patch.setattr("sys.prefix", "of two")
        stands = run(two, "first", text="PREFIX")
    assert toy_stage.CALLS == ["a", "a"]
    assert stands == made
    assert "another machine has made it first, with other bytes; those are used" in capsys.readouterr().err
    second = run(two, "second", {"first": stands}, text="z")
    assert two.path(second.objects["out.txt"]).read_text() == "zof one"
    assert list(faults(two)) == []


def test_two_that_made_the_same_bytes_hear_nothing(
    machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Shared, "record", lambda *_: None)
        assert run(machine("one"), "first", text="x") == run(machine("two"), "first", text="x")
    assert toy_stage.CALLS == ["a", "a"]
    assert capsys.readouterr().err == ""


def test_a_start_notices_storage_that_ignores_conditions(machine: Callable[[str], Store], url: str) -> None:
    shared = machine("one").shared
    assert shared is not None
    for _ in range(2):
        told = shared.check()
        assert ["overwrites what it was asked to keep" in line for line in told] == [True] * url.startswith("forgetful")


def test_what_was_made_alone_is_pushed_and_pulled(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = Store(tmp_path / "alone")
    first = run(alone, "first", text="x")
    run(alone, "second", {"first": first}, text="y")
    (alone.root / "study/first/a.json").unlink()  # the record of what the second was made from goes along
    monkeypatch.setenv("MAXACT_REMOTE", url)
    for _ in range(2):
        assert main(["push", "--store", str(alone.root)]) == 0
        assert "has 2 results of this store" in capsys.readouterr().out
    two = Store(tmp_path / "two", Shared.of_environment())
    assert run(two, "first", text="x") == first
    assert toy_stage.CALLS == ["a", "a"]
    (two.root / "objects").mkdir()
    assert main(["pull", "--store", str(two.root)]) == 0
    assert capsys.readouterr().out == "2 objects taken\n"
    assert all(two.is_whole(item) for item in first.objects.values())


def test_what_was_taken_from_one_place_is_pushed_to_another(
    machine: Callable[[str], Store], url: str, tmp_path: Path
) -> None:
    """Nothing here has read the objects yet."""
    one = machine("one")
    assert one.shared is not None
    one.shared.check()  # as every run does at its start
    made = run(one, "first", text="x")
    shared = Shared(open_remote(str(tmp_path / "other"), read_only=False), (open_remote(url, read_only=True),))
    two = Store(tmp_path / "two", shared)
    run(two, "first", text="x")
    assert push(two).endswith("has 1 result of this store")
    for item in made.objects.values():
        assert (tmp_path / "other" / item.path).exists()
    assert toy_stage.CALLS == ["a"]


def test_weights_stay_where_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxact.store.sharing.WEIGHTS", "extra.*")
    shared = Shared(open_remote(str(tmp_path / "far"), read_only=False))
    one, two = Store(tmp_path / "one", shared), Store(tmp_path / "two", shared)
    made = run(one, "first", text="x", extra="w")
    assert not (tmp_path / "far" / made.objects["extra.txt"].path).exists()
    publish(run(two, "first", text="x", extra="w"), {"extra.txt": tmp_path / "extra.txt"}, two)
    assert (tmp_path / "extra.txt").read_text() == "w"  # made again from where they come from
    assert toy_stage.CALLS == ["a", "a"]


def test_a_result_that_cannot_be_given_is_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "far").write_text("a file, where a folder is needed")
    store = Store(tmp_path / "one", Shared(open_remote(str(tmp_path / "far" / "away"), read_only=False)))
    monkeypatch.setattr(Shared, "record", lambda *_: None)
    made = run(store, "first", text="x")
    assert store.path(made.objects["out.txt"]).read_text() == "x"
    told = capsys.readouterr().err
    assert "first/a is made but not given to others" in told
    assert told.count("cannot be written (Not a directory)") == len(told.splitlines()) == 2  # nor can it be claimed
    assert "Traceback" not in told


def test_a_file_in_the_place_of_a_folder_is_not_taken_for_what_another_machine_has_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "one", Shared(open_remote(str(tmp_path / "far"), read_only=False)))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "actions").write_text("")
    run(store, "first", text="x")
    assert "first/a is made but not given to others" in capsys.readouterr().err
    assert list(store.root.glob("ungiven/*.json"))


class Server(SimpleHTTPRequestHandler):
    """A web server that is at times busy."""

    busy: list[int] = []  # noqa: RUF012

    def do_GET(self) -> None:
        if self.busy:
            self.send_error(self.busy.pop())
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of the folder `far`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path / "far")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.busy.clear()
    server.shutdown()
    server.server_close()


def test_a_web_server_with_a_copy_is_a_mirror(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Shared(open_remote(str(tmp_path / "far"), read_only=False))
    remote.check()
    made = run(Store(tmp_path / "one", remote), "first", text="x")
    monkeypatch.setenv("MAXACT_MIRROR", web)
    shared = Shared.of_environment()
    assert shared is not None
    assert shared.check() == []
    two = Store(tmp_path / "two", shared)
    Server.busy += [503, 500]
    publish(run(two, "first", text="x"), {"out.txt": tmp_path / "out.txt"}, two)
    assert (tmp_path / "out.txt").read_text() == "x"
    assert toy_stage.CALLS == ["a"]
    before = sorted((tmp_path / "far").rglob("*"))
    run(two, "second", {"first": made}, text="own")  # nothing is given to a mirror
    assert sorted((tmp_path / "far").rglob("*")) == before


def test_a_mirror_that_is_busy_for_long_stops_a_job_before_it_computes(web: str, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    store = Store(tmp_path / "two", Shared(None, (open_remote(web, read_only=True),)))
    Server.busy += [503] * 9
    with pytest.raises(UserError, match=r"out of reach \(Server error '503.*3 tries\); run again later, or unset"):
        run(store, "first", text="x")
    assert toy_stage.CALLS == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAXACT_REMOTE", "https://example.org/store", "only read; name it in MAXACT_MIRROR"),
        ("MAXACT_REMOTE", "ftp://127.0.0.1/y", "ftp:// is unknown; give s3://BUCKET/PREFIX"),
        ("MAXACT_REMOTE", "nosuch://bucket", "nosuch:// is unknown; give s3://BUCKET/PREFIX"),
        ("MAXACT_REMOTE", "zip://bucket", "zip:// is unknown; give s3://BUCKET/PREFIX"),
        ("MAXACT_REMOTE", "dir://bucket", "dir:// is unknown; give s3://BUCKET/PREFIX"),
        ("MAXACT_MIRROR", "EMPTY", f"has no {MARKER}, so it is no store of artifacts"),
    ],
)
def test_a_place_that_cannot_serve_is_one_line(
    name: str,
    value: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "store" / "objects").mkdir(parents=True)
    monkeypatch.setenv(name, value.replace("EMPTY", str(tmp_path)))
    assert main(["pull", "--store", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1


def test_push_and_pull_ask_for_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "objects").mkdir()
    assert main(["push", "--store", str(tmp_path)]) == main(["pull", "--store", str(tmp_path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in told] == [
        "error: MAXACT_REMOTE is not set",
        "error: neither MAXACT_REMOTE nor MAXACT_MIRROR is set",
    ]


def test_jobs_of_a_rule_read_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maxact.store.run import run_rule
    from store.test_run import rule

    monkeypatch.setenv("MAXACT_REMOTE", str(tmp_path / "far"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_rule(rule(tmp_path / name, text="x"))
    assert (tmp_path / "two" / "reports" / "out.txt").read_text() == "x"
    assert toy_stage.CALLS == ["a"]
    assert "taken from the store" in (tmp_path / "two" / "a.log").read_text()


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        (("key",), "b" * 64, "is of another action"),
        (("objects", "out.txt", "kind"), "one that this version does not know", "is no record of an action"),
        (("name",), 5, "is no record of an action"),
        (("objects", "out.txt", "size"), "9", "has names that no store has"),
        (("objects", "out.txt", "suffix"), "/../x", "has names that no store has"),
        (("objects", "out.txt", "sha256"), "../x", "has names that no store has"),
        (("objects", "../x"), {"sha256": "c" * 64, "size": 1, "suffix": ""}, "has names that no store has"),
        (("inputs", "first"), "../x", "has names that no store has"),
        (("summary",), [], "has no recipe or summary"),
        (("objects",), None, "is no record of an action"),
    ],
)
def test_a_record_from_elsewhere_that_no_store_has_written_is_told_and_the_job_done_here(
    where: tuple[str, ...], value: object, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = open_remote(str(tmp_path / "far"), read_only=False)
    made = run(Store(tmp_path / "one", Shared(far)), "first", text="x")
    file = tmp_path / "far" / "actions" / f"{made.key}.json"
    record = part = json.loads(file.read_text())
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    write_atomically(file, json.dumps(record))
    capsys.readouterr()
    assert run(Store(tmp_path / "two", Shared(None, (far,))), "first", text="x") == made
    assert f"{told}; it is not used" in capsys.readouterr().err
    assert toy_stage.CALLS == ["a", "a"]
