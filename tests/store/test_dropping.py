"""Objects that are not kept: gone when the last job has read them, whole again for a job that reads them later."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from maxact.errors import UserError
from maxact.remeasure import Stored
from maxact.stages import STAGES, Stage
from maxact.store.disk import write_atomically
from maxact.store.dropping import READERS, Readers, drop, drop_read
from maxact.store.garbage import DAY, delete, garbage
from maxact.store.objects import Manifest, Store, canonical
from maxact.store.run import restore, run_job
from maxact.store.show import show
from maxact.store.verify import faults
from maxact.study import load_study
from store import toy_stage


@pytest.fixture(autouse=True)
def _objects_are_weights(toy_stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "third", Stage("store.toy_stage", {"first": ("out.*",)}))
    for module in ("dropping", "garbage"):
        monkeypatch.setattr(f"maxact.store.{module}.WEIGHTS", "out.*")


def stamp(store: Store, stage: str, name: str, text: str, study: str = "study") -> dict[str, Any]:
    """The recipe of a job, as its stamp has it."""
    recipe = {"parameters": {"text": text}, "code": "c", "packages": {}}
    write_atomically(store.root / study / "keys" / stage / f"{name}.json", canonical(recipe))
    return recipe


def run(store: Store, stage: str, name: str, inputs: dict[str, Manifest], text: str, study: str = "study") -> Manifest:
    """What a rule does."""
    manifest, _ = run_job(stage, name, stamp(store, stage, name, text, study), inputs, store)
    output = store.root / study / stage / f"{name}.json"
    write_atomically(output, manifest.to_json())
    drop_read(output, inputs, store)
    return manifest


def unkept(store: Store, *jobs: str, study: str = "study") -> None:
    """The study does not keep what `first` makes; `second/a` reads what is named a."""
    listed: Readers = {"first": {}}
    for job in jobs:
        name = Path(job).name
        inputs = {"key": f"keys/{job}.json", "first": f"first/{name}.json"}
        listed["first"].setdefault(name, {})[f"{job}.json"] = inputs
    write_atomically(store.root / study / READERS, canonical(listed))


def is_there(store: Store, manifest: Manifest) -> bool:
    return store.path(manifest.objects["out.txt"]).exists()


def test_what_an_unlisted_job_is_reading_stays_until_it_has(store: Store, tmp_path: Path) -> None:
    """As a variant does, which may run beside the last job that is listed."""
    first = run(store, "first", "a", {}, "x")
    unkept(store, "second/a")
    recipe = {"parameters": {"text": "v", "until": str(tmp_path / "read")}, "code": "c", "packages": {}}
    with ThreadPoolExecutor() as pool:
        variant = pool.submit(run_job, "third", "a", recipe, {"first": first}, store)
        while len(toy_stage.CALLS) < 2:
            time.sleep(0.01)
        try:
            run(store, "second", "a", {"first": first}, "y")
            assert is_there(store, first)
        finally:
            (tmp_path / "read").touch()
        assert variant.result()[1]
    drop(first, store)
    assert not is_there(store, first)


def test_garbage_asks_once_whether_the_weights_of_a_checkpoint_are_needed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones have a hundred files, and the answer takes the manifests of all jobs that read them."""
    monkeypatch.setattr("maxact.store.garbage.WEIGHTS", "*.txt")
    asked: list[Path] = []
    monkeypatch.setattr("maxact.store.garbage.is_needed", lambda path: not asked.append(path))
    run(store, "first", "a", {}, "x")
    assert garbage(store, 14) == []
    assert asked == [store.root / "study/first/a.json"]


def test_a_job_that_others_are_to_follow_looks_through_no_other_manifest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unkept(store, "second/a", "third/a")
    first = run(store, "first", "a", {}, "x")
    with monkeypatch.context() as patch:
        patch.delattr(Store, "manifests")
        run(store, "second", "a", {"first": first}, "y")
    run(store, "third", "a", {"first": first}, "y")
    assert not is_there(store, first)


def test_what_no_job_reads_any_more_goes_and_is_no_fault(store: Store) -> None:
    unkept(store, "second/a")
    first = run(store, "first", "a", {}, "x")
    assert is_there(store, first)
    run(store, "second", "a", {"first": first}, "y")
    assert not is_there(store, first)
    assert store.path(first.objects["extra.txt"]).exists()
    assert list(faults(store)) == []
    assert "not kept" in show(store.root / "study/first/a.json", store.root)
    run(store, "second", "a", {"first": first}, "y")
    assert toy_stage.CALLS == ["a", "a"]  # a hit makes nothing again


def test_a_study_without_a_list_of_readers_keeps_all(store: Store) -> None:
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    drop(first, store)
    assert is_there(store, first)


def test_what_a_study_lacked_goes_again_unless_another_study_needs_it(store: Store) -> None:
    first = run(store, "first", "a", {}, "x")
    drop(first, store, store.root / "study")
    assert not is_there(store, first)
    restore(first, store)
    run(store, "first", "a", {}, "x", study="another")
    drop(first, store, store.root / "study")
    assert is_there(store, first)


def test_what_was_made_again_for_a_command_goes_again_where_the_command_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGES, "failing", Stage("store.toy_stage", {"checkpoint": ("out.*",)}))
    first = run(store, "first", "a", {}, "x")
    drop(first, store, store.root / "study")
    record = store.action(first.key)
    assert record is not None
    stored = Stored(store.root / "study/first/a.json", first, record, {"checkpoint": first})
    pocket = load_study(Path(__file__).parents[2] / "studies/pocket.yaml")
    recipe = {"parameters": {"fail": True}, "code": "c", "packages": {}}
    for keeps in (False, True):
        with pytest.raises(UserError, match="asked to fail"):
            stored.run("failing", recipe, pocket.model_copy(update={"keep_weights": keeps}), store)
        assert is_there(store, first) == keeps


def test_a_job_that_reads_it_later_has_it_made_again(store: Store) -> None:
    unkept(store, "second/a")
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    assert not is_there(store, first)
    unkept(store)
    again = run(store, "third", "a", {"first": first}, "z")
    assert store.path(again.objects["out.txt"]).read_text() == "zx"
    assert store.is_whole(first.objects["out.txt"])
    store.path(first.objects["out.txt"]).unlink()
    assert [fault.what for fault in faults(store)] == ["missing"]  # it was there again, so its loss is one


@pytest.mark.parametrize("order", [("second", "third"), ("third", "second")])
def test_the_last_of_several_jobs_that_read_it_drops_it(store: Store, order: tuple[str, str]) -> None:
    unkept(store, "second/a", "third/a")
    first = run(store, "first", "a", {}, "x")
    run(store, order[0], "a", {"first": first}, "y")
    assert is_there(store, first)
    run(store, order[1], "a", {"first": first}, "y")
    assert not is_there(store, first)


def test_the_same_bytes_under_two_names_wait_for_every_job_that_reads_either(store: Store) -> None:
    """Not for the first job of each alone: of b, `third` still reads them."""
    unkept(store, "second/a", "second/b", "third/b")
    first, other = run(store, "first", "a", {}, "x"), run(store, "first", "b", {}, "x")
    assert first.objects["out.txt"] == other.objects["out.txt"]
    run(store, "second", "b", {"first": other}, "y")
    run(store, "second", "a", {"first": first}, "y")
    assert is_there(store, first)
    run(store, "third", "b", {"first": other}, "y")
    assert not is_there(store, first)
    assert toy_stage.CALLS == ["a", "b", "b"]  # nothing was made again; `second/a` has the key of `second/b`


def test_a_job_that_is_to_be_done_again_has_not_ended(store: Store) -> None:
    unkept(store, "second/a", "third/a")
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    stamp(store, "second", "a", "another")
    run(store, "third", "a", {"first": first}, "y")
    assert is_there(store, first)
    run(store, "second", "a", {"first": first}, "another")
    assert not is_there(store, first)
    changed = run(store, "first", "a", {}, "w")
    run(store, "third", "a", {"first": changed}, "y")
    assert is_there(store, changed)  # `second/a` was made from other bytes


def test_a_job_whose_inputs_have_other_times_alone_has_ended(store: Store) -> None:
    unkept(store, "second/a", "third/a")
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    os.utime(store.root / "study/first/a.json")
    run(store, "third", "a", {"first": first}, "y")
    assert not is_there(store, first)


def test_what_is_no_longer_in_the_study_keeps_nothing(store: Store) -> None:
    unkept(store, "second/a")
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "removed", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    assert not is_there(store, first)


def test_what_another_study_keeps_stays(store: Store) -> None:
    unkept(store, "second/a")
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "a", {}, "x", study="another")
    run(store, "second", "a", {"first": first}, "y")
    assert is_there(store, first)


def test_what_a_study_of_another_version_reads_in_stages_unknown_here_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unkept(store, "second/a")
    unkept(store, "third/a", study="another")
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "a", {}, "x", study="another")
    run(store, "third", "a", {"first": first}, "y", study="another")
    monkeypatch.delitem(STAGES, "third")
    run(store, "second", "a", {"first": first}, "y")
    assert is_there(store, first)


def test_what_two_studies_do_not_keep_goes_when_the_last_has_read_it(store: Store) -> None:
    for study in ("study", "another"):
        unkept(store, "second/a", study=study)
    first = run(store, "first", "a", {}, "x")
    run(store, "first", "a", {}, "x", study="another")
    run(store, "second", "a", {"first": first}, "y")
    assert is_there(store, first)  # the other study has not read it yet
    run(store, "second", "a", {"first": first}, "z", study="another")
    assert not is_there(store, first)


def test_weights_that_are_no_longer_kept_are_garbage_once_all_have_read_them(store: Store) -> None:
    """As when `keep_weights` was changed after the run."""
    first = run(store, "first", "a", {}, "x")
    run(store, "second", "a", {"first": first}, "y")
    later = time.time() + 100 * DAY
    unkept(store, "second/a", "third/a")
    assert garbage(store, 14, later) == []
    unkept(store, "second/a")
    found = garbage(store, 14, later)
    assert [(item.kind, item.path) for item in found] == [("weight", store.path(first.objects["out.txt"]))]
    delete(store, found)
    assert not is_there(store, first)
    assert list(faults(store)) == []
