"""Jobs are computed once for a recipe and the content of what they read; a lost object is made again."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from maxact.errors import UserError
from maxact.store.keys import action_key
from maxact.store.objects import Manifest, Store
from maxact.store.run import restore, run_job, run_rule
from store import toy_stage

pytestmark = pytest.mark.usefixtures("toy_stages")


def recipe(**parameters: object) -> dict[str, object]:
    return {"parameters": parameters, "code": "c", "packages": {}}


def text_of(store: Store, manifest: Manifest) -> str:
    return store.path(manifest.objects["out.txt"]).read_text()


def test_a_recipe_is_computed_once(store: Store) -> None:
    first, computed = run_job("first", "a", recipe(text="x"), {}, store)
    again, computed_again = run_job("first", "a", recipe(text="x"), {}, store)
    assert (computed, computed_again) == (True, False)
    assert first == again
    assert toy_stage.CALLS == ["a"]
    assert text_of(store, first) == "x"
    assert os.access(store.path(first.objects["out.txt"]), os.R_OK)
    assert store.path(first.objects["out.txt"]).stat().st_mode & 0o222 == 0


def test_content_that_is_read_decides_and_other_content_does_not(store: Store) -> None:
    inputs = [run_job("first", "a", recipe(text=text, extra=extra), {}, store)[0] for text, extra in ["x1", "x2", "y1"]]
    computed = [run_job("second", "b", recipe(text="z"), {"first": manifest}, store)[1] for manifest in inputs]
    assert computed == [True, False, True]


def test_a_summary_decides_where_the_stage_uses_it(store: Store) -> None:
    inputs = [run_job("first", "a", recipe(text=text), {}, store)[0] for text in ["x", "y", "xyz"]]
    computed = [run_job("third", "b", recipe(text="z"), {"first": manifest}, store)[1] for manifest in inputs]
    assert computed == [True, False, True]


def test_names_of_inputs_and_order_of_parameters(store: Store) -> None:
    manifest, _ = run_job("first", "a", recipe(text="x"), {}, store)
    other, _ = run_job("first", "b", recipe(text="y"), {}, store)
    left = action_key("second", "b", recipe(text="t"), {"first/a": manifest, "first/b": other})
    right = action_key("second", "b", recipe(text="t"), {"first/a": other, "first/b": manifest})
    assert left != right
    assert action_key("first", "a", {"a": 1, "b": 2}, {}) == action_key("first", "a", {"b": 2, "a": 1}, {})
    assert action_key("first", "a", {"a": 1, "b": 2}, {}) != action_key("first", "a", {"a": 2, "b": 1}, {})


def test_a_lost_object_is_made_again_from_its_recipe(store: Store) -> None:
    first, _ = run_job("first", "a", recipe(text="x"), {}, store)
    second, _ = run_job("second", "b", recipe(text="z"), {"first": first}, store)
    for manifest in (first, second):
        for item in manifest.objects.values():
            store.path(item).unlink(missing_ok=True)
    restore(second, store)
    assert text_of(store, second) == "zx"
    assert text_of(store, first) == "x"


def test_an_object_that_comes_out_different_is_refused(store: Store) -> None:
    first, _ = run_job("first", "a", recipe(text="x"), {}, store)
    store.path(first.objects["out.txt"]).unlink()
    record = store.action(first.key)
    assert record is not None
    record["recipe"]["parameters"]["text"] = "y"
    store.record_action(first.key, record)
    with pytest.raises(UserError, match="bytes differ"):
        restore(first, store)


def test_packages_that_are_not_the_locked_ones_are_refused(store: Store) -> None:
    wrong = recipe(text="x") | {"packages": {"pytest": "0.0.1"}}
    with pytest.raises(UserError, match=r"pytest: installed .*, locked 0\.0\.1"):
        run_job("first", "a", wrong, {}, store)
    assert toy_stage.CALLS == []


@pytest.mark.parametrize("build", ["", "+cpu", "+cu130"])
def test_builds_of_one_version_share_their_results(build: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(text="x") | {"packages": {"torch": "2.13.0"}}
    monkeypatch.setattr("importlib.metadata.version", lambda package: "2.13.0")
    first, _ = run_job("first", "a", asked, {}, store)
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"2.13.0{build}")
    assert run_job("first", "a", asked, {}, store) == (first, False)
    computed, fresh = run_job("first", "a", asked, {}, Store(store.root / "other"))
    assert (computed.key, fresh) == (first.key, True)


def test_an_optional_source_that_cannot_be_had_is_told_and_what_reads_it_alone_is_left_out(store: Store) -> None:
    asked = recipe(text="x", unavailable=True, optional=True)
    first, _ = run_job("first", "a", asked, {}, store)
    second, computed = run_job("second", "b", recipe(text="y"), {"first": first}, store)
    assert first.summary == second.summary == {"unavailable": "far: cannot be had"}
    assert (first.objects, second.objects, computed) == ({}, {}, False)
    other, _ = run_job("first", "c", recipe(text="z"), {}, store)
    joined, _ = run_job("second", "d", recipe(text="y"), {"first/a": first, "first/c": other}, store)
    assert text_of(store, joined) == "yz"
    assert store.action(first.key) is None  # nothing was recorded, so another try computes it


def test_a_source_that_is_not_optional_must_be_had(store: Store) -> None:
    with pytest.raises(UserError, match="far: cannot be had"):
        run_job("first", "a", recipe(text="x", unavailable=True), {}, store)


def test_a_recipe_for_gpus_takes_them_after_a_miss_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("maxact.devices.take", taken.append)
    on_cpu, _ = run_job("first", "a", recipe(text="x"), {}, store, gpus=3)
    asked = recipe(text="x", device="cuda")
    first, _ = run_job("first", "a", asked, {}, store, gpus=3)
    assert run_job("first", "a", asked, {}, store, gpus=3) == (first, False)
    assert run_job("first", "b", asked, {}, store, gpus=4)[0].key == first.key != on_cpu.key
    assert taken == [3]
    store.path(first.objects["out.txt"]).unlink()
    second, _ = run_job("second", "b", recipe(text="z"), {"first": first}, store)
    assert text_of(store, second) == "zx"
    assert taken == [3, 3]  # made again with as many, whatever the job that needs it has


def test_a_failure_leaves_nothing(store: Store) -> None:
    with pytest.raises(UserError):
        run_job("first", "a", recipe(text="x", fail=True), {}, store)
    assert [path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "locks"] == []


def _compute(root: Path, queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    queue.put(run_job("first", "a", recipe(text="x" * 100_000), {}, Store(root))[1])


def test_processes_at_once_compute_once(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_compute, args=(store.root, queue)) for _ in range(6)]
    for process in processes:
        process.start()
    computed = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(computed) == [False] * 5 + [True]
    assert len((store.root / "journal.jsonl").read_text().splitlines()) == 1


def rule(tmp_path: Path, **parameters: object) -> SimpleNamespace:
    (tmp_path / "key.json").write_text(json.dumps(recipe(**parameters)))
    output = [str(tmp_path / "reports" / "out.txt"), str(tmp_path / "artifacts" / "study" / "first" / "a.json")]

    class Output(list):  # type: ignore[type-arg]
        manifest = output[1]

    return SimpleNamespace(
        rule="first",
        params=SimpleNamespace(get=lambda name, default: default),
        input=SimpleNamespace(key=str(tmp_path / "key.json"), items=lambda: [("key", str(tmp_path / "key.json"))]),
        output=Output(output),
        log=[str(tmp_path / "a.log")],
        threads=2,
        resources={},
    )


def test_a_rule_writes_its_manifest_and_publishes_what_its_outputs_name(tmp_path: Path) -> None:
    run_rule(rule(tmp_path, text="x"))
    assert (tmp_path / "reports" / "out.txt").read_text() == "x"
    assert Manifest.read(tmp_path / "artifacts" / "study" / "first" / "a.json").summary == {"length": 1}
    assert "computed" in (tmp_path / "a.log").read_text()


def test_a_users_mistake_is_one_line_and_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run_rule(rule(tmp_path, text="x", fail=True))
    assert caught.value.code == "error: input.txt: asked to fail"
    assert not (tmp_path / "artifacts" / "study").exists()
    assert not (tmp_path / "reports").exists()
