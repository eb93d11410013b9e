"""Results that the remote refused in the middle of a run: kept, given when the run ends, told if they are refused again."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from maxact.cli import main
from maxact.errors import UserError
from maxact.store.disk import write_atomically
from maxact.store.exchange import give_rest
from maxact.store.objects import Manifest, Store
from maxact.store.run import restore, run_job
from maxact.store.sharing import MARKER, Shared
from maxact.store.ungiven import tell_ungiven
from store import toy_stage


@pytest.fixture(autouse=True)
def remote(toy_stages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that MAXACT_REMOTE names."""
    monkeypatch.delenv("MAXACT_MIRROR", raising=False)
    monkeypatch.setenv("MAXACT_REMOTE", str(tmp_path / "far"))
    return tmp_path / "far"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def run(root: Path, *texts: str, times: int = 1) -> list[Manifest]:
    """The manifests of as many jobs, each in a store opened as a job's process does."""
    made = []
    for text in texts:
        recipe = {"parameters": {"text": text, "times": times}, "code": "c", "packages": {}}
        made.append(run_job("first", text, recipe, {}, Store(root, Shared.of_environment()))[0])
        write_atomically(root / "study" / "first" / f"{text}.json", made[-1].to_json())
    return made


def has(remote: Path, made: list[Manifest]) -> list[bool]:
    return [(remote / "actions" / f"{manifest.key}.json").exists() for manifest in made]


def refuse(remote: Path) -> None:
    """Have a folder refuse to be written, whoever asks: a file is where a folder is needed."""
    remote.mkdir(exist_ok=True)
    (remote / "objects").write_text("")


def refused(root: Path, remote: Path, *texts: str) -> list[Manifest]:
    """The manifests of jobs whose results the remote refused, and would take now."""
    refuse(remote)
    made = run(root, *texts)
    (remote / "objects").unlink()
    return made


def test_what_another_run_gives_meanwhile_is_none_of_this_one(
    root: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(root, remote, "a", "b")
    seen = Path.glob

    def glob(folder: Path, pattern: str) -> list[Path]:
        files = sorted(seen(folder, pattern))
        if pattern.startswith("ungiven/"):
            files[0].unlink()  # as soon as it has been listed
        return files

    monkeypatch.setattr(Path, "glob", glob)
    capsys.readouterr()
    tell_ungiven(root)
    assert capsys.readouterr().err.startswith(f"warning: 1 result of {root} is not at")


def test_a_result_of_which_an_object_is_nowhere_is_not_given_and_told(
    root: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = refused(root, remote, "a", "b")
    (lost,) = set(made[0].objects.values()) - set(made[1].objects.values())
    Store(root).path(lost).unlink()
    capsys.readouterr()
    assert not give_rest(root)
    told = capsys.readouterr()
    assert told.out == f"1 result that could not be given at first is at {remote} now\n"
    assert told.err == f"{remote}: of 1 an object is nowhere, so it is given them once they are made again: first/a\n"
    assert has(remote, made) == [False, True]
    restore(made[0], Store(root, Shared.of_environment()))
    assert give_rest(root)
    assert has(remote, made) == [True, True]


def test_an_object_that_only_a_mirror_has_is_given(
    root: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = refused(root, remote, "a")
    shutil.copytree(root / "objects", tmp_path / "mirror" / "objects")
    (tmp_path / "mirror" / MARKER).write_text("{}")
    for item in made[0].objects.values():
        Store(root).path(item).unlink()
    monkeypatch.setenv("MAXACT_MIRROR", str(tmp_path / "mirror"))
    assert give_rest(root)
    assert has(remote, made) == [True]


def test_a_push_to_another_place_leaves_what_is_noted_for_this_one(
    root: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = refused(root, remote, "a")
    monkeypatch.setenv("MAXACT_REMOTE", str(tmp_path / "other"))
    assert main(["push", "--store", str(root)]) == 0
    assert (has(tmp_path / "other", made), has(remote, made)) == ([True], [False])
    monkeypatch.setenv("MAXACT_REMOTE", str(remote))
    assert give_rest(root)
    assert has(remote, made) == [True]


def test_a_push_gives_what_is_noted_and_in_no_manifest(root: Path, remote: Path) -> None:
    made = refused(root, remote, "a")
    (root / "study" / "first" / "a.json").unlink()
    assert main(["push", "--store", str(root)]) == 0
    assert has(remote, made) == [True]


def test_what_another_job_is_giving_now_is_left_to_it(
    root: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = refused(root, remote, "a")
    capsys.readouterr()
    with Store(root).lock(made[0].key):
        assert give_rest(root)
    told = capsys.readouterr()
    assert (told.out, told.err, has(remote, made)) == ("", "", [False])


def test_a_disk_that_is_full_at_the_end_is_one_line(
    root: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(root, remote, "a")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(root / "scratch"))

    monkeypatch.setattr(Path, "write_text", full)
    capsys.readouterr()
    assert not give_rest(root)
    assert f"{root}/scratch: cannot be written (No space left on device)" in capsys.readouterr().err


def test_an_object_of_another_size_at_the_remote_is_to_be_deleted_first(
    root: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = refused(root, remote, "a")
    item = next(iter(made[0].objects.values()))
    there = remote / item.path
    write_atomically(there, "something else")
    capsys.readouterr()
    assert not give_rest(root)
    assert f"has 14 bytes, not {item.size:,}; delete it, then `maxact push`" in capsys.readouterr().err
    assert has(remote, made) == [False]
    there.unlink()
    assert give_rest(root)
    assert has(remote, made) == [True]


def test_one_line_at_the_end_says_how_many_are_not_where_and_why(
    root: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(remote)
    made = run(root, "a", "b")
    assert all(store.is_whole(item) for store in [Store(root)] for item in made[0].objects.values())
    capsys.readouterr()
    tell_ungiven(root)
    assert capsys.readouterr().err == (
        f"warning: 2 results of {root} are not at {remote} yet; `maxact push` gives them, and so does the end of a run that has "
        "something to do\n"
    )
    assert not give_rest(root)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"error: 2 results are finished and in {root}, but not at {remote}: cannot be written (Not a directory); "
        "free space or mend permissions; when that is mended, `maxact push` gives them\n"
    )


def test_what_was_refused_for_a_while_is_given_when_the_run_ends(
    root: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = refused(root, remote, "a")
    made += run(root, "b")
    assert has(remote, made) == [False, True]
    capsys.readouterr()
    assert give_rest(root)
    assert capsys.readouterr().out == f"1 result that could not be given at first is at {remote} now\n"
    assert has(remote, made) == [True, True]
    assert give_rest(root)
    tell_ungiven(root)
    assert capsys.readouterr() == ("", "")


def test_what_a_killed_job_had_no_time_to_give_is_given_by_the_next_run(
    root: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Shared, "give", lambda *_: exit("killed"))
        with pytest.raises(SystemExit, match="killed"):
            run(root, "a")
    made = run(root, "a")  # is known, so there is nothing to give
    assert toy_stage.CALLS == ["a"]
    assert has(remote, made) == [False]
    assert give_rest(root)
    assert has(remote, made) == [True]


def test_pushing_leaves_nothing_to_give(root: Path, remote: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = refused(root, remote, "a", "b")
    assert main(["push", "--store", str(root)]) == 0
    assert has(remote, made) == [True, True]
    capsys.readouterr()
    tell_ungiven(root)
    assert capsys.readouterr().err == ""


def test_only_the_place_that_is_named_now_is_told_of(
    root: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(remote)
    run(root, "a")
    capsys.readouterr()
    for url in ("", str(tmp_path / "elsewhere")):
        monkeypatch.setenv("MAXACT_REMOTE", url)
        assert give_rest(root)
        tell_ungiven(root)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("MAXACT_REMOTE", f"{remote}/")
    assert not give_rest(root)


def test_a_remote_that_fills_up(
    root: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAXACT_REMOTE", str(small_disk))
    made = run(root, "a", "b", "c", times=100_000)
    assert has(small_disk, made) == [True, True, False]
    capsys.readouterr()
    assert not give_rest(root)
    assert (
        f"1 result is finished and in {root}, but not at {small_disk}: cannot be written (No space left on device)"
        in (capsys.readouterr().err)
    )
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert give_rest(root)
    assert has(small_disk, made) == [True, True, True]


def test_a_remote_that_is_read_only_is_refused_before_a_run(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXACT_REMOTE", str(small_disk))
    shared = Shared.of_environment()
    assert shared is not None
    assert shared.check() == []
    assert (small_disk / MARKER).exists()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"\(Read-only file system\); mend permissions, or name it in MAXACT_MIRROR"):
        shared.check()
