"""Wheels are had by name, version and digest, read as zip data, and kept."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from maxact.errors import UnavailableError, UserError
from maxact.study import Wheel, WheelMember
from maxact.wheels import cache_folder, fetch, joined_path, licence_of, member_path, open_wheel

METADATA = "Metadata-Version: 2.1\nName: tiny-text\nVersion: 1.0\nLicense: Apache-2.0\n\nLicense: not this\n"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel that pip finds in a folder, and an empty cache."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    file = shelf / "tiny_text-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny_text/words.txt", "one two")
        archive.writestr("tiny_text-1.0.dist-info/METADATA", METADATA)
        archive.writestr(
            "tiny_text-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_text-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path / "cache"))
    return Wheel(package="tiny-text", version="1.0", sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_wheel_is_downloaded_once_and_read_as_data(tiny: Wheel, tmp_path: Path) -> None:
    path = fetch(tiny)
    shutil.rmtree(tmp_path / "shelf")
    assert fetch(tiny) == path
    with open_wheel(tiny) as archive:
        assert archive.read("tiny_text/words.txt") == b"one two"
    assert member_path(tiny, "tiny_text/words.txt").read_text() == "one two"
    assert licence_of(tiny) == "Apache-2.0"
    assert path.is_relative_to(cache_folder())


def test_another_digest_is_refused_and_nothing_is_kept(tiny: Wheel) -> None:
    wrong = Wheel(package="tiny-text", version="1.0", sha256="0" * 64)
    with pytest.raises(UserError, match="its SHA-256 is not the pinned one"):
        fetch(wrong)
    assert list(cache_folder().rglob("*.whl")) == []


def test_a_wheel_that_was_damaged_in_the_cache_is_refused(tiny: Wheel) -> None:
    path = fetch(tiny)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        fetch(tiny)


def test_a_wheel_that_does_not_exist_is_one_line(tiny: Wheel) -> None:
    absent = Wheel(package="tiny-text", version="9.9", sha256=tiny.sha256)
    with pytest.raises(UnavailableError, match=r"tiny-text 9\.9: cannot be downloaded") as caught:
        fetch(absent)
    assert "\n" not in str(caught.value)


def test_a_missing_member_is_named(tiny: Wheel) -> None:
    with pytest.raises(UserError, match=r"has no file 'tiny_text/absent\.gguf'"):
        member_path(tiny, "tiny_text/absent.gguf")


def test_parts_in_wheels_are_joined_in_order_and_their_digest_is_checked(tiny: Wheel) -> None:
    words = WheelMember(wheel=tiny, member="tiny_text/words.txt")
    metadata = WheelMember(wheel=tiny, member="tiny_text-1.0.dist-info/METADATA")
    whole = b"one two" + METADATA.encode()
    path = joined_path([words, metadata], hashlib.sha256(whole).hexdigest(), "whole.bin")
    assert path.read_bytes() == whole
    assert joined_path([words, metadata], hashlib.sha256(whole).hexdigest(), "whole.bin") == path
    with pytest.raises(UserError, match=r"whole\.bin: joined from 2 wheels, its SHA-256 is .*, the study pins 0000"):
        joined_path([metadata, words], "0" * 64, "whole.bin")
    assert not list((cache_folder() / "joined" / ("0" * 64)).glob("[!.]*"))
