"""Objects that are not kept: gone when the last job has read them, whole again for a job that reads them later."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from maxact.stages import STAGES, Stage
from maxact.store.dropping import are_current, drop
from maxact.store.garbage import DAY, delete, garbage
from maxact.store.objects import Manifest, Store, write_atomically
from maxact.store.run import run_job
from maxact.store.show import show
from maxact.store.verify import faults
from store import toy_stage


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_stage.CALLS.clear()
    monkeypatch.setitem(STAGES, "first", Stage("store.toy_stage", {}))
    monkeypatch.setitem(STAGES, "second", Stage("store.toy_stage", {"first": ("out.*",)}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def run(store: Store, stage: str, name: str, inputs: dict[str, Manifest], text: str, study: str = "study") -> Manifest:
    recipe = {"parameters": {"text": text}, "code": "c", "packages": {}}
    manifest, _ = run_job(stage, name, recipe, inputs, store)
    write_atomically(output(store, stage, name, study), manifest.to_json())
    return manifest


def output(store: Store, stage: str, name: str, study: str = "study") -> Path:
    return store.root / study / stage / f"{name}.json"


def test_what_matches_goes_and_is_no_fault(store: Store) -> None:
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, "out.*", output(store, "second", "a"), store)
    assert not store.path(first.objects["out.txt"]).exists()
    assert store.path(first.objects["extra.txt"]).exists()
    assert list(faults(store)) == []
    assert "not kept" in show(output(store, "first", "a"), store.root)
    run(store, "second", "a", {"first": first}, "y")
    assert toy_stage.CALLS == ["a", "a"]  # a hit makes nothing again


def test_a_job_that_reads_it_later_has_it_made_again(store: Store) -> None:
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, "out.*", output(store, "second", "a"), store)
    again = run(store, "second", "a", {"first": first}, "z")
    assert store.path(again.objects["out.txt"]).read_text() == "zx"
    assert store.is_whole(first.objects["out.txt"])
    store.path(first.objects["out.txt"]).unlink()
    assert [fault.what for fault in faults(store)] == ["missing"]  # it was there again, so its loss is one


def test_the_same_bytes_wait_for_the_last_job_of_the_study_that_reads_them(store: Store) -> None:
    first, other = run(store, "first", "a", {}, "x"), run(store, "first", "b", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, "out.*", output(store, "second", "a"), store)
    assert store.is_whole(first.objects["out.txt"])
    run(store, "second", "b", {"first": other}, "y")
    drop(other, "out.*", output(store, "second", "b"), store)
    assert not store.path(first.objects["out.txt"]).exists()


def test_what_another_study_names_stays(store: Store) -> None:
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "a", {}, "x", study="another")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, "out.*", output(store, "second", "a"), store)
    assert store.is_whole(first.objects["out.txt"])


def test_what_two_studies_do_not_keep_goes_when_the_last_has_read_it(store: Store) -> None:
    for study in ("study", "another"):
        write_atomically(store.root / study / "study.yaml", "keep_weights: false\n")
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "a", {}, "x", study="another")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, "out.*", output(store, "second", "a"), store)
    assert store.is_whole(first.objects["out.txt"])  # the other study has not read it yet
    run(store, "second", "a", {"first": first}, "z", study="another")
    drop(first, "out.*", output(store, "second", "a", "another"), store)
    assert not store.path(first.objects["out.txt"]).exists()


def test_the_last_of_several_jobs_that_read_weights_knows_it(tmp_path: Path) -> None:
    """One that was made from an earlier measurement will be made again."""
    measured, other = tmp_path / "measured.json", tmp_path / "other.json"
    measured.touch()
    assert are_current([], measured)
    assert not are_current([other], measured)
    other.touch()
    os.utime(measured, (100, 100))
    os.utime(other, (99, 99))
    assert not are_current([other], measured)
    os.utime(other, (100, 100))
    assert are_current([other], measured)


def test_weights_that_are_no_longer_kept_are_garbage_once_they_are_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when `keep_weights` was changed after the run."""
    monkeypatch.setattr("maxact.store.garbage.WEIGHTS", "out.*")
    first = run(store, "first", "a", {}, "x")
    later = time.time() + 100 * DAY
    write_atomically(store.root / "study" / "study.yaml", "keep_weights: false\n")
    assert garbage(store, 14, later) == []
    measured = Manifest("measure", "a", first.key, first.recipe, {}, {})
    write_atomically(output(store, "measure", "a"), measured.to_json())
    found = garbage(store, 14, later)
    assert [(item.kind, item.path) for item in found] == [("weight", store.path(first.objects["out.txt"]))]
    delete(store, found)
    assert not store.path(first.objects["out.txt"]).exists()
    assert list(faults(store)) == []
