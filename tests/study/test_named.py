"""Two files that say one `study:` are told apart from one file that was moved, edited or copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.study.named import RECORD, claim_name, warn_of_name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which `one.yaml` was run."""
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("study: pocket\nsamples: 8\n")
    claim("one.yaml")
    return tmp_path


def claim(*files: str) -> None:
    claim_name("pocket", [Path(file) for file in files], Path("artifacts", "pocket"))


def test_a_copy_in_which_the_name_was_forgotten_is_refused(folder: Path) -> None:
    Path("my.yaml").write_text("study: pocket\nsamples: 9\n")
    told = r"one\.yaml and my\.yaml are two studies with one name, `study: pocket`, .* artifacts/pocket; give one another name"
    with pytest.raises(UserError, match=told):
        claim("my.yaml")
    assert Path("artifacts", "pocket", RECORD).read_text() == "one.yaml\n"
    claim("one.yaml")
    Path("one.yaml").write_text("study: other\nsamples: 8\n")
    claim("my.yaml")
    Path("one.yaml").write_text("study: pocket\n")
    with pytest.raises(UserError, match=r"my\.yaml and one\.yaml are two studies"):
        claim("one.yaml")


def test_a_file_that_was_edited_moved_or_copied_as_it_is_goes_on(folder: Path) -> None:
    Path("one.yaml").write_text("study: pocket\nsamples: 9\n")
    claim(str(folder / "one.yaml"))
    Path("my.yaml").write_text("samples: 9\nstudy: pocket  # a copy\n")
    claim("my.yaml")
    os.rename("my.yaml", "moved.yaml")
    Path("moved.yaml").write_text("study: pocket\nsamples: 10\n")
    claim("moved.yaml")
    Path("moved.yaml").write_text("half written: [")
    claim("one.yaml")


def test_what_was_read_of_a_study_is_no_other_study(folder: Path) -> None:
    Path("artifacts", "pocket", "study.yaml").write_text("study: pocket\nsamples: 7\n")
    claim("artifacts/pocket/study.yaml")
    claim(str(folder / "artifacts/pocket/study.yaml"))
    assert Path("artifacts", "pocket", RECORD).read_text() == "one.yaml\n"


def test_a_study_file_that_came_with_an_archive_is_no_other_study(folder: Path) -> None:
    """Though the checkout has another version of it, whose stamps a dry run has written."""
    Path("artifacts", "pocket", "imported-one.yaml").write_text("study: pocket\nsamples: 7\n")
    claim("artifacts/pocket/imported-one.yaml")
    claim("one.yaml")
    assert Path("artifacts", "pocket", RECORD).read_text() == "one.yaml\n"


def test_two_studies_on_one_base_that_has_the_name_are_refused(folder: Path) -> None:
    for name, samples in (("x", 1), ("y", 2), ("z", 1)):
        Path(f"{name}.yaml").write_text(f"corpus: {{samples: {samples}}}\n")
    Path("one.yaml").write_text("study: pocket\ncorpus: {seed: 1, samples: 9}\n")
    Path("artifacts", "pocket", RECORD).unlink()
    claim("one.yaml", "x.yaml")
    with pytest.raises(UserError, match=r"one\.yaml, x\.yaml and one\.yaml, y\.yaml are two studies with one name"):
        claim("one.yaml", "y.yaml")
    claim("one.yaml", "z.yaml")  # says the same
    claim("one.yaml")
    claim("one.yaml", "y.yaml")


def test_parts_that_are_added_to_a_study_are_no_other_study(folder: Path) -> None:
    Path("part.yaml").write_text("samples: 9\n")
    claim("one.yaml", "part.yaml")
    Path("two.yaml").write_text("study: pocket\nsamples: 10\n")
    with pytest.raises(UserError, match=r"one\.yaml and two\.yaml are two studies"):
        claim("two.yaml")
    claim("one.yaml", "two.yaml")
    with pytest.raises(UserError, match=r"one\.yaml and two\.yaml are two studies"):
        claim("two.yaml")


def test_commands_warn_of_a_name_that_is_taken_and_write_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.yaml").write_text("study: pocket\nsamples: 9\n")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for file in ("one.yaml", "my.yaml"):
        warn_of_name("pocket", folder / file, folder / "artifacts")
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: one.yaml and my.yaml are two studies with one name, `study: pocket`: what is in ")
    assert told.endswith("a run is refused; give one another name (or delete "
                         f"{folder}/artifacts/pocket/{RECORD}, if one.yaml is of no more use)")  # fmt: skip
    warn_of_name("other", folder / "my.yaml", Path("none"))
    assert capsys.readouterr().err == ""
    assert not Path("none").exists()
