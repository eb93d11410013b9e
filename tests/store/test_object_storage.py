"""Artifacts shared through a real server of object storage, and the ways in which it refuses."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import s3fs
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from maxact.errors import UserError
from maxact.store import asking
from maxact.store.objects import Manifest, Store
from maxact.store.remotes import ObjectStorage, open_remote
from maxact.store.run import publish, run_job
from maxact.store.sharing import Shared
from store import toy_stage
from store.object_storage import PLAIN, PUBLIC


@pytest.fixture(autouse=True)
def _quick(toy_stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.001)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def url(storage: str, tmp_path: Path) -> str:
    return f"s3://{PUBLIC}/{tmp_path.name}"


def shared(url: str) -> Shared:
    return Shared(open_remote(url, read_only=False))


def run(store: Store, **parameters: object) -> Manifest:
    return run_job("first", "a", {"parameters": parameters, "code": "c", "packages": {}}, {}, store)[0]


def test_one_machine_makes_another_takes_a_reviewer_reads(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared(url).check() == []  # a server that honours conditions
    big = "x" * (1 << 20)
    made = run(Store(tmp_path / "one", shared(url)), text=big)
    assert run(Store(tmp_path / "two", shared(url)), text=big) == made
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for mirror in (url, url.replace("s3:/", os.environ["AWS_ENDPOINT_URL"])):
        reader = Shared(None, (open_remote(mirror, read_only=True),))
        assert reader.check() == []
        store = Store(tmp_path / mirror[:4], reader)
        publish(run(store, text=big), {"out.txt": tmp_path / mirror[:4] / "out.txt"}, store)
        assert (tmp_path / mirror[:4] / "out.txt").read_text() == big
        assert toy_stage.CALLS == ["a"]
        run(store, text=f"not there {mirror}")
        assert toy_stage.CALLS.pop() == "a"


def _create(url: str, file: Path, queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    queue.put(open_remote(url, read_only=False).create("actions/x.json", file))


def test_of_writers_at_once_one_wins(url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    files = [tmp_path / str(number) for number in range(4)]
    for file in files:
        file.write_text(f"{file.name}" * 1000)
    writers = [context.Process(target=_create, args=(url, file, queue)) for file in files]
    for writer in writers:
        writer.start()
    won = [queue.get(timeout=300) for _ in writers]
    for writer in writers:
        writer.join()
    assert sorted(won) == [False, False, False, True]
    assert open_remote(url, read_only=False).fetch("actions/x.json", tmp_path / "found")
    assert (tmp_path / "found").read_text() in [file.read_text() for file in files]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            r"access is refused \(.*signature.*\); credentials may have expired: log in",
        ),
        (
            {"AWS_ACCESS_KEY_ID": PLAIN, "BUCKET": "nosuch"},
            r"access is refused \(.*\); .*or the bucket is missing or not yours",
        ),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, r"access is refused \(.*\); credentials may have expired: log in"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials .*; log in"),
        ({"AWS_PROFILE": "nosuch"}, r"no credentials \(The config profile \(nosuch\) could not be found\); log in"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"},
            "out of reach .*; run again later, or unset",
        ),
    ],
)
def test_credentials_that_do_not_do_stop_a_run_at_its_start(
    url: str, variables: dict[str, str | None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        if name == "BUCKET":
            url = f"s3://{value}/prefix"
        elif value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told) as caught:
        shared(url).check()
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)


class Refusing:
    """Storage that answers every request with one mistake, as s3fs tells it."""

    anon = False

    def __init__(self, code: str, words: str) -> None:
        self._answer = {"Error": {"Code": code, "Message": words}}

    def _strip_protocol(self, url: str) -> str:
        return url

    def get_file(self, path: str, file: str) -> None:
        raise translate_boto_error(ClientError(self._answer, "GetObject"))

    def put_file(self, file: str, path: str, mode: str) -> None:
        self.get_file(path, file)

    def pipe_file(self, path: str, data: bytes) -> None:
        self.get_file(path, "")


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        ("ExpiredToken", "The provided token has expired.", "access is refused .*has expired.*: log in"),
        ("TokenRefreshRequired", "The token must be refreshed.", "access is refused .*must be refreshed.*: log in"),
        ("RequestTimeTooSkewed", "The difference is too large.", "the clock of this machine is wrong .*; set it"),
        ("SlowDown", "Reduce your request rate.", "out of reach .*request rate., 3 tries"),
    ],
)
def test_what_this_server_never_says_in_the_words_of_those_that_do(
    code: str, words: str, told: str, tmp_path: Path
) -> None:
    """Credentials that expire in mid-run, and a clock that is off: s3fs makes its exceptions of the answers of S3."""
    with pytest.raises(UserError, match=told):
        ObjectStorage("s3://bucket", Refusing(code, words)).fetch("actions/x.json", tmp_path / "x")


def test_a_bucket_that_is_missing_is_told_where_the_server_says_so(tmp_path: Path) -> None:
    remote = ObjectStorage("s3://bucket", Refusing("NoSuchBucket", "The specified bucket does not exist"))
    for write in (lambda: remote.create("a", tmp_path / "x"), lambda: remote.put("a", b"")):
        with pytest.raises(UserError, match=r"s3://bucket: no such bucket; make it, or mend MAXACT_REMOTE"):
            write()
