"""A study goes in one file to a machine without weights, text and network, and is shown there; or the commit to use is told."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from once import made_once
from workflow.harness import Run, Workspace, checkout, copy_of

from maxact.archive.record import RECORD, is_allowed
from maxact.cli import main
from maxact.store.objects import Manifest, Store

FIGURE = "reports/small/figures/global_maxima.pdf"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def original(finished: tuple[Workspace, Run], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished study in a repository of Git. Tests leave it as it is."""
    if shutil.which("git") is None:
        pytest.skip("no git on this machine")

    def make(folder: Path) -> None:
        copied = copy_of(finished[0], folder / "checkout").folder
        git(copied, "init", "--quiet")
        git(copied, "add", "Snakefile", "rules", "envs", "workflow_scripts", "reports/captions")
        git(copied, "commit", "--quiet", "--message", "first")

    return Workspace(made_once(tmp_path_factory, "original", make) / "checkout", finished[0].study)


@pytest.fixture(scope="session")
def archive(original: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        told = original.maxact("export", "study.yaml", "--out", str(folder / "small.zip"))
        assert f"commit {git(original.folder, 'rev-parse', 'HEAD')}: " in told

    return made_once(tmp_path_factory, "archive", make) / "small.zip"


@pytest.fixture(scope="session")
def measured(original: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        original.maxact("export", "study.yaml", "--out", str(folder / "small.zip"), "--with-measurements")

    return made_once(tmp_path_factory, "measured", make) / "small.zip"


@pytest.fixture
def fresh(original: Workspace, tmp_path: Path) -> Workspace:
    """A checkout without artifacts, on which nothing that runs a model can be imported."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    workspace = Workspace(checkout(folder), dict(original.study))
    for name in ("torch", "transformers", "numba"):
        (workspace.folder / "workflow_scripts" / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return workspace


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def edit(workspace: Workspace, file: str) -> None:
    """An edit of meaning, of which no result differs."""
    path = workspace.folder / "workflow_scripts/maxact" / file
    path.write_text(path.read_text(encoding="utf-8") + "\nUNUSED = 1\n", encoding="utf-8")


def test_a_figure_is_drawn_on_a_fresh_machine_and_nothing_is_computed(
    fresh: Workspace, original: Workspace, archive: Path
) -> None:
    told = fresh.maxact("import", str(archive))
    assert f"made by commit {git(original.folder, 'rev-parse', 'HEAD')}\n" in told
    command = told.splitlines()[-1].removeprefix("go on with: .venv/bin/snakemake ").split()
    assert command == ["--cores", "1", FIGURE, "--configfile", "study.yaml"]
    run = fresh.snakemake(FIGURE)
    assert (run.computed, run.started) == ([], ["figure_global_maxima"])
    assert (fresh.folder / FIGURE).read_bytes() == (original.folder / FIGURE).read_bytes()
    assert "0 at fault" in fresh.maxact("verify")
    assert "would delete nothing" in fresh.maxact("gc", "--grace-days", "0")
    assert "current    yes" in fresh.maxact("show", FIGURE)


def test_the_whole_report_comes_out_of_an_archive(fresh: Workspace, archive: Path, original: Workspace) -> None:
    fresh.maxact("import", str(archive))
    run = fresh.snakemake()
    assert run.computed == []
    assert not {"weights", "corpus", "tokens", "measure", "quantize"} & set(run.started)
    assert (fresh.folder / "reports/small/report.html").exists()
    for kind in ("tables", "figures"):
        names = {path.name for path in (original.folder / "reports/small" / kind).iterdir()}
        assert {path.name for path in (fresh.folder / "reports/small" / kind).iterdir()} == names
    # A change of style is drawn from what was imported.
    fresh.study["figures"] = {**fresh.study["figures"], "overrides": {"per_layer": {"font_size": 11.0}}}
    assert fresh.snakemake("reports/small/figures/per_layer.pdf").computed == ["figures/per_layer"]


def test_equal_content_gives_equal_bytes(original: Workspace, archive: Path, tmp_path: Path) -> None:
    original.maxact("export", "study.yaml", "--out", str(tmp_path / "again.zip"))
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_what_one_figure_needs_is_a_small_archive(
    fresh: Workspace, original: Workspace, archive: Path, tmp_path: Path
) -> None:
    small = tmp_path / "one.zip"
    original.maxact("export", "study.yaml", "--out", str(small), "--figure", "global_maxima")
    assert small.stat().st_size < archive.stat().st_size / 2
    fresh.maxact("import", str(small))
    assert fresh.snakemake(FIGURE).computed == []
    for target in ("reports/small/figures/per_layer.pdf", "reports/small/tables/int8.csv"):
        run = fresh.snakemake(target, check=False)
        assert run.returncode != 0
        assert "error: artifacts/small: came out of an archive that has not what " in run.output
        assert (run.started, run.computed) == ([], [])
    # Another archive adds what it has.
    tables = tmp_path / "tables.zip"
    original.maxact("export", "study.yaml", "--out", str(tables), "--table", "int8")
    fresh.maxact("import", str(tables))
    assert fresh.snakemake("reports/small/tables/int8.csv").computed == []


def test_a_newer_checkout_says_which_commit_to_use(fresh: Workspace, original: Workspace, archive: Path) -> None:
    edit(fresh, "results/frames.py")
    commit = git(original.folder, "rev-parse", "HEAD")
    told = fresh.maxact("import", str(archive), returncode=2)
    assert f"made by commit {commit}; this checkout would compute results/results anew" in told
    assert f"use that commit: git checkout {commit}" in told
    assert told.count("\n") == 1
    assert not (fresh.folder / "artifacts/small/results").exists()
    assert not (fresh.folder / "artifacts/objects").exists()


def test_a_checkout_that_has_moved_on_computes_nothing_from_an_archive(fresh: Workspace, archive: Path) -> None:
    fresh.maxact("import", str(archive))
    edit(fresh, "measure/state.py")
    run = fresh.snakemake(FIGURE, check=False)
    assert run.returncode != 0
    # The first of the jobs that pass a model; all of them share the edited code.
    stage = run.output.partition("and this checkout or study would compute ")[2].partition("/")[0]
    assert stage in ("measure", "evaluate", "paper_check", "perplexity")
    assert "use that commit: git checkout " in run.output
    assert (run.started, run.computed) == ([], [])


def test_tables_are_made_anew_from_measurements(fresh: Workspace, original: Workspace, measured: Path) -> None:
    edit(fresh, "results/frames.py")
    (fresh.folder / "workflow_scripts" / "numba.py").unlink()  # the table of the paper's check quantizes histograms
    told = fresh.maxact("import", str(measured))
    assert "note: this checkout makes results/results anew, from what was imported" in told
    run = fresh.snakemake("reports/small/tables/global_maxima.csv")
    assert (run.computed, run.forward_passes) == (["results/results"], 0)
    for name in ("global_maxima.csv", "how_sure.csv"):
        path = Path("reports/small/tables") / name
        assert (fresh.folder / path).read_bytes() == (original.folder / path).read_bytes()
    names = ("study.yaml:planted-qwen2", "artifacts/small/measure/planted-qwen2.json")
    assert "0 of " in fresh.maxact("compare", *names, "--tolerance", "0")


def test_measurements_in_the_store_are_compared(original: Workspace) -> None:
    told = original.maxact(
        "compare", "study.yaml:planted-qwen2", "study.yaml:planted-qwen3-moe", "--json", returncode=1
    )
    del told
    command = ("compare", "study.yaml:planted-qwen2", "artifacts/small/measure/planted-qwen2.json", "--tolerance", "0")
    found = json.loads(original.maxact(*command, "--json"))
    assert found["a"]["planted"]
    assert (found["settings"], found["pairing"]) == ([], "the same tokens")
    assert {row["differ"] for row in found["samples"]} == {0}
    told = original.maxact("compare", "study.yaml:planted-qwen2", "artifacts/small/corpus/corpus.json", returncode=2)
    assert "artifacts/small/corpus/corpus.json: not of a measurement but of the stage 'corpus'" in told


Entries = dict[str, bytes]


def rewrite(archive: Path, target: Path, change: Callable[[Entries, dict[str, object]], None]) -> Path:
    """A copy of an archive with other entries; `archive.json` is written from the second."""
    with zipfile.ZipFile(archive) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    record = json.loads(entries.pop(RECORD))
    change(entries, record)
    with zipfile.ZipFile(target, "w") as copy:
        copy.writestr(RECORD, json.dumps(record))
        for name, data in entries.items():
            copy.writestr(name, data)
    return target


def first(entries: Entries, start: str) -> str:
    return next(name for name in sorted(entries) if name.startswith(start))


def flip(entries: Entries, record: dict[str, object]) -> None:
    name = first(entries, "objects/")
    entries[name] = entries[name][:-1] + bytes([entries[name][-1] ^ 1])


def shorten(entries: Entries, record: dict[str, object]) -> None:
    name = first(entries, "actions/")
    entries[name] = entries[name][:-1]


def lengthen(entries: Entries, record: dict[str, object]) -> None:
    entries[first(entries, "small/results/")] += b" " * (1 << 22)


def leave_out(entries: Entries, record: dict[str, object]) -> None:
    del entries[first(entries, "objects/")]


def add(name: str) -> Callable[[Entries, dict[str, object]], None]:
    def change(entries: Entries, record: dict[str, object]) -> None:
        entries[name] = b"{}"
        files = record["files"]
        assert isinstance(files, dict)
        files[name] = ["44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", 2]

    return change


def unused(entries: Entries, record: dict[str, object]) -> None:
    """A whole record of an action, which nothing of the study was made from."""
    name = f"actions/{'0' * 64}.json"
    entries[name] = json.dumps({**json.loads(entries[first(entries, "actions/")]), "key": "0" * 64}).encode()
    measured_again(entries, record, name)


def other_recipe(entries: Entries, record: dict[str, object]) -> None:
    name = first(entries, "actions/")
    fields = json.loads(entries[name])
    entries[name] = json.dumps({**fields, "recipe": {**fields["recipe"], "more": 1}}).encode()
    measured_again(entries, record, name)


def measured_again(entries: Entries, record: dict[str, object], name: str) -> None:
    files = record["files"]
    assert isinstance(files, dict)
    files[name] = [hashlib.sha256(entries[name]).hexdigest(), len(entries[name])]


def rename_study(entries: Entries, record: dict[str, object]) -> None:
    record["study"] = "objects"


def other_format(entries: Entries, record: dict[str, object]) -> None:
    record["format"] = 99


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (flip, " has not the digest that it should have; get the archive again"),
        (shorten, " has not the digest that it should have; get the archive again"),
        (lengthen, "small/results/results.json has not the digest that it should have"),
        (leave_out, f"has other files than its {RECORD} says"),
        (add("../outside.json"), "has '../outside.json', which belongs in no store"),
        (add("/etc/outside.json"), "has '/etc/outside.json', which belongs in no store"),
        (add("small/../../outside.json"), "which belongs in no store"),
        (add("other/measure/a.json"), "has 'other/measure/a.json', which belongs in no store"),
        (add("small/results/extra.json"), "small/results/extra.json is not what such a file is"),
        (add(f"actions/{'0' * 64}.json"), f"actions/{'0' * 64}.json is not what such a file is"),
        (add(f"objects/00/{'0' * 64}.csv"), " has not the digest that it should have"),
        (unused, f"actions/{'0' * 64}.json is of no job of its study"),
        (other_recipe, ": not the key that this checkout gives to its recipe and inputs"),
        (rename_study, f"study in its {RECORD} cannot be"),
        (other_format, "in another format; use that version"),
    ],
)
def test_an_archive_that_is_not_what_it_says_changes_nothing(
    change: Callable[[Entries, dict[str, object]], None],
    expected: str,
    archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = rewrite(archive, tmp_path / "bad.zip", change)
    assert expected in refused(bad, tmp_path / "store", capsys)


def refused(file: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["import", str(file), "--store", str(store)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    left = [name for name in files_of(store) if not name.endswith(".lock")] if store.exists() else []
    assert left == []
    return error


def test_a_link_or_a_compressed_or_a_truncated_file_is_refused(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(archive) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    link = zipfile.ZipInfo(first(entries, "objects/"))
    link.create_system, link.external_attr = 3, 0o120777 << 16
    for number, entry in enumerate([link, zipfile.ZipInfo(link.filename)]):
        bad = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(bad, "w") as copy:
            for name, data in entries.items():
                if name == entry.filename:
                    copy.writestr(entry, data, zipfile.ZIP_DEFLATED if number else None)
                else:
                    copy.writestr(name, data)
        assert "is compressed, encrypted or a link" in refused(bad, tmp_path / "store", capsys)
    for cut in (10, archive.stat().st_size // 2, archive.stat().st_size - 10):
        short = tmp_path / "short.zip"
        short.write_bytes(archive.read_bytes()[:cut])
        assert "short.zip: no whole archive; get it again" in refused(short, tmp_path / "store", capsys)
    assert "nowhere.zip: no such file" in refused(tmp_path / "nowhere.zip", tmp_path / "store", capsys)
    assert f"{tmp_path}: cannot be read (Is a directory)" in refused(tmp_path, tmp_path / "store", capsys)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as copy:
        copy.writestr("a.txt", "a")
    assert "other.zip: not an archive of maxact" in refused(other, tmp_path / "store", capsys)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"objects/ab/ab{'0' * 62}.parquet", True),
        (f"objects/ac/ab{'0' * 62}.parquet", False),
        (f"actions/{'a' * 64}.json", True),
        ("small/keys/measure/a.b-c.json", True),
        ("small/measure/a.json", True),
        ("small/keys/a.json", False),
        ("small/imported.json", False),
        ("small/imported-study.yaml", True),
        ("small/.lock", False),
        ("small/measure/.a.json", False),
        ("small/measure/a\n.json", False),
        ("other/measure/a.json", False),
        ("journal.jsonl", False),
    ],
)
def test_only_paths_of_a_store_are_taken(path: str, allowed: bool) -> None:
    assert is_allowed(path, "small") == allowed


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can be larger than this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_nothing_half_written(
    archive: Path, original: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "store: cannot be written (File too large); free space" in refused(archive, tmp_path / "store", capsys)
    study, store = original.folder / "study.yaml", original.folder / "artifacts"
    assert main(["export", str(study), "--store", str(store), "--out", str(tmp_path / "a.zip")]) == 2
    assert "a.zip: cannot be written (File too large); free space" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_study_of_that_name_with_other_content_is_left_as_it_is(workspace: Workspace, archive: Path) -> None:
    assert "files into artifacts/small" in workspace.maxact("import", str(archive))
    assert not (workspace.folder / "artifacts/small/imported.json").exists()  # made here, so nothing is refused here
    assert workspace.snakemake().started == []
    manifest = workspace.folder / "artifacts/small/quantize/planted-qwen2.json"
    told = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**told, "key": "0" * 64}), encoding="utf-8")
    before = files_of(workspace.folder / "artifacts")
    error = workspace.maxact("import", str(archive), returncode=2)
    assert error.startswith(
        "error: artifacts/small/quantize/planted-qwen2.json: is here with other content than in the archive"
    )
    assert files_of(workspace.folder / "artifacts") == before


def test_what_cannot_be_exported_is_one_line(workspace: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"

    def error(*arguments: str) -> str:
        told = workspace.maxact("export", "study.yaml", "--out", str(target), *arguments, returncode=2)
        assert told.count("\n") == 1
        assert not target.exists()
        return told

    assert "--figure global_maximum: no such figure; did you mean 'global_maxima'?" in error(
        "--figure", "global_maximum"
    )
    assert "--table int9: no such table; did you mean 'int8'?" in error("--table", "int9")
    manifest = Manifest.read(workspace.folder / "artifacts/small/results/results.json")
    item = manifest.objects["int8.csv"]
    path = Store(workspace.folder / "artifacts").path(item)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"x")
    assert "missing or damaged; run snakemake --configfile study.yaml again, which makes it" in error()
    path.write_bytes(data)
    workspace.study["quantize"]["formats"] = ["int6"]
    assert "made by other code, packages or settings than those of this checkout; run snakemake" in error()
    os.remove(workspace.folder / "artifacts/small/corpus/corpus.json")
    assert "corpus.json: not made yet; run snakemake --cores all --configfile study.yaml first" in error()
    target.write_text("")
    told = workspace.maxact("export", "study.yaml", "--out", str(target), returncode=2)
    assert "a.zip: is there already; delete it or choose another name" in told
