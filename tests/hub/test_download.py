"""Files of a pinned commit: whole and right, or one line that says what to do."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from hub.server import Hub
from maxact.errors import UnavailableError, UserError
from maxact.hub.client import FIRST_WAIT, LONGEST_WAIT, TRIES
from maxact.hub.download import download
from maxact.hub.pin import pin_of
from maxact.study import Hub as HubSource
from maxact.study.hub import FilePin, Pin

NAME = "owner/model-1B"
SMALL = b'{"model_type": "llama"}'
LARGE = bytes(range(256)) * 400
FILES = {"config.json": SMALL, "model.safetensors": LARGE}


class Pinned(NamedTuple):
    commit: str
    files: dict[str, FilePin]


@pytest.fixture
def pinned(hub: Hub) -> Pinned:
    hub.repository(NAME).commit(FILES)
    pin = Pin(**pin_of(HubSource(kind="hub", repository=NAME)))
    hub.requests.clear()
    return Pinned(pin.commit, dict(pin.files))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


def test_the_files_of_the_pinned_commit_are_taken_whatever_the_branch_is_now(
    hub: Hub, pinned: Pinned, tmp_path: Path
) -> None:
    hub.repository(NAME).commit({"config.json": b"{}", "model.safetensors": b"x" * 5000})
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES


def test_what_is_there_is_not_downloaded_again(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    download(NAME, *pinned, tmp_path)
    hub.requests.clear()
    download(NAME, *pinned, tmp_path)
    assert hub.requests == []


def test_a_broken_connection_is_gone_on_with(hub: Hub, pinned: Pinned, waits: list[float], tmp_path: Path) -> None:
    hub.breaks = [10_000, 20_000]
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES
    ranges = [asked for path, asked in hub.requests if path.endswith(".safetensors")]
    assert ranges == [None, "bytes=10000-", "bytes=30000-"]
    assert hub.sent < 2 * len(LARGE)
    assert waits == [FIRST_WAIT, 2 * FIRST_WAIT]


def test_a_download_is_gone_on_with_by_the_next_process(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(LARGE[:70_000])
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES
    assert ("bytes=70000-") in [asked for _, asked in hub.requests]


def test_a_hub_that_knows_no_ranges_is_read_from_the_start(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    hub.ranges = False
    (tmp_path / "model.safetensors.part").write_bytes(LARGE[:70_000])
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_with_another_digest_is_refused_and_not_kept(
    hub: Hub, pinned: Pinned, name: str, tmp_path: Path
) -> None:
    hub.damaged = {name}
    with pytest.raises(UserError) as refused:
        download(NAME, *pinned, tmp_path)
    assert name in str(refused.value)
    assert pinned.files[name].digest in str(refused.value)
    assert name not in content(tmp_path)
    hub.damaged = set()
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES


def test_a_part_with_wrong_bytes_is_refused_once(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(b"\0" * 70_000)
    with pytest.raises(UserError, match="run again"):
        download(NAME, *pinned, tmp_path)
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES


def test_digests_are_those_of_the_bytes(pinned: Pinned) -> None:
    assert pinned.files["model.safetensors"].digest == "sha256:" + hashlib.sha256(LARGE).hexdigest()
    git = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert pinned.files["config.json"].digest == "git:" + git


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("stranger", 403)])
def test_gated_weights_without_access_name_the_licence_page_and_the_token(
    hub: Hub, pinned: Pinned, token: str | None, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.repository(NAME).gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError) as refused:
        download(NAME, *pinned, tmp_path)
    for part in (f"HTTP {status}", f"{hub.address}/{NAME}", "licence", "HF_TOKEN"):
        assert part in str(refused.value)
    assert content(tmp_path) == {}


def test_gated_weights_with_access_are_downloaded(
    hub: Hub, pinned: Pinned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.repository(NAME).gated = True
    hub.tokens = {"friend"}
    monkeypatch.setenv("HF_TOKEN", "friend")
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES


def test_a_busy_hub_is_asked_again_after_growing_waits(
    hub: Hub, pinned: Pinned, waits: list[float], tmp_path: Path
) -> None:
    hub.failures = [(503, {}), (429, {"Retry_After": "30"}), (500, {}), (429, {"Retry_After": "100000"})]
    download(NAME, *pinned, tmp_path)
    assert content(tmp_path) == FILES
    assert waits == [FIRST_WAIT, 30.0, 4 * FIRST_WAIT, LONGEST_WAIT]


def test_a_hub_that_stays_busy_is_unavailable(hub: Hub, pinned: Pinned, waits: list[float], tmp_path: Path) -> None:
    hub.failures = [(503, {})] * 100
    with pytest.raises(UnavailableError, match="HTTP 503"):
        download(NAME, *pinned, tmp_path)
    assert len(waits) == TRIES - 1


def test_a_hub_that_is_not_there_is_unavailable(
    pinned: Pinned, waits: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="cannot be reached"):
        download(NAME, *pinned, tmp_path)


def test_a_file_that_the_commit_has_not_is_refused(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    del hub.repository(NAME).commits[pinned.commit]["model.safetensors"]
    with pytest.raises(UserError, match="no such file"):
        download(NAME, *pinned, tmp_path)


def test_too_little_room_is_said_before_anything_is_downloaded(
    hub: Hub, pinned: Pinned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("maxact.hub.download.shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match="are free"):
        download(NAME, *pinned, tmp_path)
    assert hub.requests == []


FULL = """
import shutil, sys
from pathlib import Path
from maxact.errors import UserError
from maxact.hub.download import download
from maxact.study.hub import Pin
usage = shutil.disk_usage("/")
shutil.disk_usage = lambda _: usage._replace(free=10**9)  # as if the disk filled up meanwhile
pin = Pin.model_validate_json(sys.argv[1])
try:
    download("owner/model-1B", pin.commit, pin.files, Path(sys.argv[2]))
except UserError as error:
    print(f"error: {error}")
print(sorted(file.name for file in Path(sys.argv[2]).iterdir()))
"""


def test_a_disk_that_fills_up_is_one_line_and_keeps_what_came(hub: Hub, pinned: Pinned, tmp_path: Path) -> None:
    """On a real file system of 64 KiB."""
    pin = Pin(commit=pinned.commit, licence="unknown", files=pinned.files).model_dump_json()
    script = f'mount -t tmpfs -o size=64k tmpfs "$1" && exec "{sys.executable}" -c "$2" "$3" "$1"'
    run = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path), FULL, pin]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount name spaces here: {done.stderr.strip()}")
    assert "the disk is full; free space and run again" in done.stdout, done.stderr
    assert "'model.safetensors.part'" in done.stdout
    assert "'model.safetensors'" not in done.stdout
