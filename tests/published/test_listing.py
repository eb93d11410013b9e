"""Which files are results: whatever lies in the folder, each is listed once, and nothing is opened that could block."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.published.files import read_tree
from maxact.published.listing import LARGEST, file_digests, listed, model_of
from published.stages import results_of
from published.tree import made, study, written

SMALL = "Small/json/small-1b_activation_stats.json"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (SMALL, "small-1b"),
        ("Small/json/small-1b_top5_stats.json", "small-1b"),
        ("quant/small-1b_quant_sanity.json", "small-1b"),
        ("bootstrap/small-1b_s2_r1_activation_stats.json", "small-1b"),
        ("bootstrap/2/r1/Small/json/small-1b_activation_stats.json", "small-1b"),
        ("quant/quant_sanity_summary.json", None),
    ],
)
def test_a_file_is_named_after_a_model(path: str, model: str | None) -> None:
    assert model_of(path) == model


def test_a_folder_without_results_is_one_clear_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=f"^{folder}: no .*; give the folder of the authors' result files$"):
            read_tree(folder)


def enormous(path: Path) -> None:
    """Four GB that take no place on the disk."""
    with path.open("wb") as stream:
        stream.truncate(2**32)


def a_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the paths of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(before)


IN_ITS_PLACE: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "a folder, and named like a result; rename it"),
    "broken link": (lambda path: path.symlink_to("nowhere.json"), "a link to nothing; mend it"),
    "link to itself": (lambda path: path.symlink_to(path.name), "cannot be read (Too many levels of symbolic links)"),
    "link to a folder": (lambda path: path.symlink_to(path.parent), "a folder, and named like a result"),
    "pipe": (os.mkfifo, "no regular file (a pipe, socket or device); replace it"),
    "socket": (a_socket, "no regular file (a pipe, socket or device); replace it"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no regular file (a pipe, socket or device); replace it"),
    "enormous": (enormous, f"4,294,967,296 bytes, where a result has {LARGEST:,} at most; fetch the file again"),
    "deep": (lambda path: path.write_text("[" * 10**6), "not valid JSON ("),
    "deep objects": (lambda path: path.write_text('{"a":' * 10**5 + "1" + "}" * 10**5), "not valid JSON ("),
    "long number": (lambda path: path.write_text("1" * 10**5), "not valid JSON ("),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not valid JSON ("),
    "empty": (Path.touch, "not valid JSON ("),
}


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
def test_whatever_stands_in_the_place_of_a_result_is_told_and_the_rest_is_read(kind: str, tmp_path: Path) -> None:
    make, told = IN_ITS_PLACE[kind]
    tree = written(tmp_path, made())
    whole = file_digests(tree)
    (tree / SMALL).unlink()
    make(tree / SMALL)
    found, digests = read_tree(tree), file_digests(tree)
    assert [str(one) for one in found.problems if one.file == SMALL and told in one.what], [*map(str, found.problems)]
    assert {one.name for one in found.checkpoints} == {"small-7b", "small-1b-it", "routed-8b", "deep-4b"}
    assert {path for path in whole if whole[path] != digests[path]} == {SMALL}, "the recipe knows"
    assert file_digests(tree) == digests


def test_a_folder_that_is_named_like_a_file_is_a_gap_of_the_study(tmp_path: Path) -> None:
    tree = written(tmp_path / "tree", made())
    (tree / SMALL).unlink()
    (tree / SMALL).mkdir()
    product = results_of(tree, study(), tmp_path)
    assert product.summary["absent"] == {"small-1b": f"{SMALL}: a folder, and named like a result; rename it"}
    assert "a folder, and named like a result" in product.files["published_problems.csv"].read_text()


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs this as root may read everything, so the system's refusals are put in."""
    tree = written(tmp_path, made())
    scandir, opened = os.scandir, Path.open

    def denied(path: str | Path) -> None:
        if str(path).endswith(("Deep/json", SMALL)):
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: (denied(path), scandir(path))[1])
    monkeypatch.setattr(Path, "open", lambda path, *how, **named: (denied(path), opened(path, *how, **named))[1])
    told = [str(one) for one in read_tree(tree).problems]
    assert "Deep/json: cannot be read (Permission denied); mend it" in told
    assert f"{SMALL}: cannot be read (Permission denied); mend it" in told
    assert {"Deep/json", SMALL} <= file_digests(tree).keys()


def test_a_folder_of_something_else_is_refused_though_something_in_it_may_not_be_read(tmp_path: Path) -> None:
    """As in /tmp, where others have folders of their own."""
    (tmp_path / "mine" / "json").mkdir(parents=True)
    enormous(tmp_path / "mine" / "json" / "x_activation_stats.json")
    with pytest.raises(
        UserError, match=r"no <series>/json/\*_activation_stats.json in it that can be read \(mine/json/x_.*; give"
    ):
        listed(tmp_path)


def test_series_may_be_links_and_what_leads_in_circles_is_read_once(tmp_path: Path) -> None:
    tree = written(tmp_path / "there", made())
    (tree / "Small").rename(tmp_path / "elsewhere")
    (tree / "Small").symlink_to(tmp_path / "elsewhere")
    (tree / "bootstrap" / "round").symlink_to(tree)
    (tree / "round").symlink_to(tree)
    assert read_tree(tree).problems == ()
    assert len(read_tree(tree).checkpoints) == 5
    assert set(file_digests(tree)) == set(made())


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"a\xff", r"a\udcff"), (b"a\nb", r"a\nb"), (b"a\x1b[2J", r"a\x1b[2J")],
    ids=["no text", "two lines", "escape"],
)
def test_a_name_that_cannot_be_printed_is_escaped_and_told(name: bytes, shown: str, tmp_path: Path) -> None:
    tree = written(tmp_path, made())
    (tree / "Small/json" / os.fsdecode(name + b"_activation_stats.json")).touch()
    told = [str(one) for one in read_tree(tree).problems]
    assert told == [f"Small/json/{shown}_activation_stats.json: a name that cannot be printed; rename the file"]


def test_files_that_are_no_results_are_not_listed(tmp_path: Path) -> None:
    others = ["notes.json", "a/b/json/x_activation_stats.json", "supplementary/json/x_activation_stats.json"]
    others += [
        "Small/json/x_activation_statsXjson",
        "Small/x_activation_stats.json",
        "Small/json/more/x_activation_stats.json",
        "Small/json/x.txt",
    ]
    tree = written(tmp_path, made() | dict.fromkeys(others, "{"))
    assert set(listed(tree)) == set(made())
