"""Damaged objects are found and made again; garbage is what nothing needs; a file tells what made it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maxact.cli import main
from maxact.errors import UserError
from maxact.store.disk import write_atomically
from maxact.store.garbage import DAY, garbage
from maxact.store.objects import Manifest, Store, canonical
from maxact.store.run import publish, run_job
from maxact.store.show import show
from maxact.store.verify import faults
from store import toy_stage

pytestmark = pytest.mark.usefixtures("toy_stages")


def run(
    store: Store, stage: str, name: str, inputs: dict[str, Manifest] | None = None, **parameters: object
) -> Manifest:
    """What a rule does: stamp, job, manifest."""
    recipe = {"parameters": parameters, "code": "c", "packages": {}}
    write_atomically(store.root / "study" / "keys" / stage / f"{name}.json", canonical(recipe) + "\n")
    manifest, _ = run_job(stage, name, recipe, inputs or {}, store)
    write_atomically(store.root / "study" / stage / f"{name}.json", manifest.to_json())
    return manifest


def object_of(store: Store, manifest: Manifest) -> Path:
    return store.path(manifest.objects["out.txt"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def test_a_store_that_is_whole_has_no_faults(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run(store, "second", "b", {"first": run(store, "first", "a", text="x")}, text="y")
    assert list(faults(store)) == []
    assert main(["verify", "--store", str(store.root)]) == 0
    assert "objects read, 0 at fault" in capsys.readouterr().out


def test_damaged_and_missing_objects_are_found_with_what_names_them(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(store, "first", "a", text="x")
    second = run(store, "second", "b", {"first": first}, text="y")
    flip(object_of(store, first))
    object_of(store, second).unlink()
    found = {fault.path: (fault.what, fault.makers) for fault in faults(store)}
    assert found == {
        object_of(store, first): ("damaged", ("first/a: out.txt",)),
        object_of(store, second): ("missing", ("second/b: out.txt",)),
    }
    assert main(["verify", "--store", str(store.root)]) == 1
    assert "2 at fault" in capsys.readouterr().out


def test_a_damaged_input_is_made_again_before_it_is_used(store: Store) -> None:
    first = run(store, "first", "a", text="x")
    flip(object_of(store, first))
    second = run(store, "second", "b", {"first": first}, text="y")
    assert object_of(store, second).read_text() == "yx"
    assert object_of(store, first).read_text() == "x"
    assert toy_stage.CALLS == ["a", "b", "a"] or toy_stage.CALLS == ["a", "a", "b"]


def test_a_damaged_object_is_made_again_before_it_is_published(store: Store, tmp_path: Path) -> None:
    first = run(store, "first", "a", text="x")
    flip(object_of(store, first))
    publish(first, {"out.txt": tmp_path / "out.txt"}, store)
    assert (tmp_path / "out.txt").read_text() == "x"
    assert list(faults(store)) == []


LONG_AFTER = time.time() + 100 * DAY


def test_what_a_manifest_or_a_recipe_as_configured_names_is_kept(store: Store) -> None:
    first = run(store, "first", "a", text="x")
    run(store, "second", "b", {"first": first}, text="y")
    assert garbage(store, 14, LONG_AFTER) == []
    (
        store.root / "study/second/b.json"
    ).unlink()  # Snakemake deletes a manifest before its job; the stamp still names it
    assert garbage(store, 14, LONG_AFTER) == []


def test_jobs_of_one_name_in_two_studies_are_both_kept(store: Store) -> None:
    """Each has been made by its stamp and has no manifest yet."""
    for study, text in (("one", "x"), ("two", "y")):
        recipe = {"parameters": {"text": text}, "code": "c", "packages": {}}
        write_atomically(store.root / study / "keys" / "first" / "a.json", canonical(recipe) + "\n")
        run_job("first", "a", recipe, {}, store)
    assert garbage(store, grace_days=0) == []


def test_what_nothing_names_is_garbage_after_the_grace_period(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    old = run(store, "first", "a", text="old", extra="o")
    run(store, "first", "a", text="new", extra="n")
    stray = store.root / "scratch" / "killed" / "part.bin"
    stray.parent.mkdir()
    stray.write_bytes(b"123")
    claim, given = (store.root / folder / f"{'0' * 64}.json" for folder in ("claims", "ungiven"))
    for file in (claim, given, store.root / "ungiven" / f"{old.key}.json"):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert garbage(store, 14) == []
    found = garbage(store, 14, LONG_AFTER)
    action = store.root / "actions" / f"{old.key}.json"
    objects = [store.path(item) for item in old.objects.values()]
    assert {item.path for item in found} == {*objects, action, stray, claim, given}
    for item in found:
        os.utime(item.path, (0, 0))
    before = [path for path in sorted(store.root.rglob("*")) if path.name != ".lock"]
    assert main(["gc", "--store", str(store.root)]) == 0
    assert "would delete 1 action, 1 claim, 1 note, 2 objects, 1 scratch file: " in capsys.readouterr().out
    assert [path for path in sorted(store.root.rglob("*")) if path.name != ".lock"] == before


@pytest.mark.parametrize("days", ["nan", "-1"])
def test_a_grace_period_that_is_no_number_of_days_is_refused(
    days: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", "--store", str(store.root), f"--grace-days={days}"]) == 2
    assert f"--grace-days {days}: not a number of days" in capsys.readouterr().err


def test_gc_deletes_what_it_has_shown_and_no_run_may_be_at_work(store: Store) -> None:
    old = run(store, "first", "a", text="old")
    new = run(store, "first", "a", text="new")
    for path in store.root.rglob("*"):
        os.utime(path, (0, 0))
    command = [sys.executable, "-c", "from maxact.cli import entry; entry()", "gc", "--delete"]
    command += ["--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("deleted 1 action, 1 object")
    assert not object_of(store, old).exists()
    assert object_of(store, new).read_text() == "new"
    assert store.action(old.key) is None
    holder = "import sys, time; from pathlib import Path; from maxact.store.workspace import hold_workspace\n"
    holder += "hold_workspace(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", holder, str(store.root / "study")], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        running.kill()
    assert done.returncode == 2
    assert "a run is at work in this store" in done.stderr


def test_records_of_what_kept_results_were_made_from_are_kept_without_their_objects(store: Store) -> None:
    first = run(store, "first", "a", text="x")
    run(store, "second", "b", {"first": first}, text="y")
    for folder in ("keys/first", "first"):
        (store.root / "study" / folder / "a.json").unlink()
    assert {item.kind for item in garbage(store, 14, LONG_AFTER)} == {"object"}
    assert store.path(first.objects["out.txt"]) in {item.path for item in garbage(store, 14, LONG_AFTER)}


def test_a_file_tells_what_made_it_and_whether_it_is_current(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(store, "first", "a", text="x")
    second = run(store, "second", "b", {"first": first}, text="y")
    publish(second, {"out.txt": tmp_path / "published.txt"}, store)

    def told(file: Path) -> str:
        assert main(["show", str(file), "--store", str(store.root)]) == 0
        return capsys.readouterr().out

    for file in (tmp_path / "published.txt", object_of(store, second), store.root / "study/second/b.json"):
        text = told(file)
        assert "second/b" in text
        assert "current    yes" in text
        assert "from       first/a" in text
        assert 'parameter  text = "y"' in text
    stamp = store.root / "study/keys/second/b.json"
    before = stamp.read_text()
    stamp.write_text(before.replace('"y"', '"z"'))
    assert "current    no: parameters have changed since" in told(tmp_path / "published.txt")
    stamp.write_text(before)
    run(store, "first", "a", text="other")
    assert "current    no: what it was made from has changed since" in told(tmp_path / "published.txt")
    stamp.unlink()
    assert "no: the study has no such job any more" in told(tmp_path / "published.txt")


def test_a_file_that_the_store_did_not_make_is_refused(store: Store, tmp_path: Path) -> None:
    run(store, "first", "a", text="x")
    (tmp_path / "edited.txt").write_text("edited")
    with pytest.raises(UserError, match=r"no manifest in .* names these bytes"):
        show(tmp_path / "edited.txt", store.root)
    with pytest.raises(UserError, match="no such file"):
        show(tmp_path / "absent.txt", store.root)


def test_a_folder_without_a_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["verify"], ["gc"], ["show", str(tmp_path)]):
        assert main([*command, "--store", str(tmp_path)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}: holds no store")
