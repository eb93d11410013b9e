"""One checkpoint measured by several jobs of a study: the same key and the same bytes as by one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measure.models import tiny
from measure.test_run import drawn

from maxact.errors import UserError
from maxact.measure.join import PART
from maxact.measure.parts import read_part
from maxact.sites.components import COMPONENTS
from maxact.store.objects import Manifest, Store
from maxact.store.run import run_job

SAMPLES = drawn(3, 7)
PROBED = 3

Run = Callable[..., tuple[Manifest, bool]]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Manifest]:
    """A small mixture of experts and seven samples, whose objects are in the store."""
    store, files = Store(tmp_path / "store"), tmp_path / "files"
    tiny("qwen3_moe").save_pretrained(files / "checkpoint")
    (files / "tokens").mkdir()
    rows = {name: [getattr(sample, name) for sample in SAMPLES] for name in ("sample", "split", "token_ids")}
    pq.write_table(pa.table(rows), files / "tokens" / "tokens.parquet")
    pq.write_table(pa.table({"token_id": [5], "text": ["five"]}), files / "tokens" / "vocabulary.parquet")
    made = {}
    for stage in ("tokens", "checkpoint"):
        kept = [
            file for file in sorted((files / stage).iterdir()) if file.suffix in (".parquet", ".json", ".safetensors")
        ]
        made[stage] = Manifest(stage, "a", "0" * 64, {}, {file.name: store.put(file) for file in kept}, {})
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def recipe(**changed: Any) -> dict[str, Any]:
    asked = {"dtype": "bfloat16", "attention": "sdpa", "model_type": "qwen3_moe", "components": list(COMPONENTS)}
    return {"parameters": asked | changed, "code": "c", "packages": {}}


def shard(number: int, of: int, inputs: dict[str, Manifest], store: Store, **changed: Any) -> Manifest:
    """As the rule `shard` runs it."""
    part, name = recipe(**changed, shard=[number, of]), f"a.{number}of{of}"
    return run_job("shard", name, part, inputs, store, part_of=("measure", recipe(**changed)))[0]


def passes(store: Store) -> list[int]:
    lines = (store.root / "journal.jsonl").read_text().splitlines()
    return [json.loads(line)["costs"]["forward_passes"] for line in lines]


@pytest.mark.parametrize("given", [(1, 2, 3), (3, 1), (2,)])
def test_shards_end_in_the_key_and_the_bytes_of_one_job(
    given: tuple[int, ...], inputs: dict[str, Manifest], store: Store, tmp_path: Path
) -> None:
    """Where some are missing, `measure` measures their samples with the probe."""
    parts = {f"shard/a.{number}of3": shard(number, 3, inputs, store) for number in given}
    joined, computed = run_job("measure", "a", recipe(), inputs | parts, store)
    sizes = [len(SAMPLES[number - 1 :: 3]) for number in given]
    assert computed
    assert passes(store) == [*sizes, len(SAMPLES) - sum(sizes) + PROBED]
    for path in store.root.glob("actions/*.json"):
        path.unlink()
    alone, computed = run_job("measure", "a", recipe(), inputs, store)
    assert computed
    assert alone == joined
    record = store.action(joined.key)
    assert record is not None
    assert set(record["inputs"]) == set(inputs)


def test_where_the_measurement_is_known_no_shard_is_measured(inputs: dict[str, Manifest], store: Store) -> None:
    whole, _ = run_job("measure", "a", recipe(), inputs, store)
    before = passes(store)
    for shards in (2, 3):
        parts = {f"shard/{number}": shard(number, shards, inputs, store) for number in range(1, shards + 1)}
        assert [(part.objects, part.summary) for part in parts.values()] == [({}, {"not_needed": whole.key})] * shards
        assert run_job("measure", "a", recipe(), inputs | parts, store) == (whole, False)
    assert passes(store) == before


def test_what_is_not_needed_any_more_does_not_stand_for_what_is_lost(inputs: dict[str, Manifest], store: Store) -> None:
    whole, _ = run_job("measure", "a", recipe(), inputs, store)
    parts = {f"shard/{number}": shard(number, 2, inputs, store) for number in (1, 2)}
    for path in store.root.glob("actions/*.json"):
        path.unlink()
    assert run_job("measure", "a", recipe(), inputs | parts, store) == (whole, True)


def test_a_shard_that_is_lost_is_measured_with_the_rest(inputs: dict[str, Manifest], store: Store) -> None:
    parts = {f"shard/{number}": shard(number, 2, inputs, store) for number in (1, 2)}
    store.path(parts["shard/1"].objects[PART]).unlink()
    run_job("measure", "a", recipe(), inputs | parts, store)
    assert passes(store)[-1] == len(SAMPLES[::2]) + PROBED


def test_shards_of_other_recipes_are_refused(inputs: dict[str, Manifest], store: Store) -> None:
    """The workflow cannot mix them, as their keys differ; a hand can."""
    parts = {
        "shard/a.1of2": shard(1, 2, inputs, store),
        "shard/a.2of2": shard(2, 2, inputs, store, components=["residual"]),
    }
    with pytest.raises(UserError, match=r"shard/a\.1of2 and shard/a\.2of2: shards differ in sites"):
        run_job("measure", "a", recipe(), inputs | parts, store)
    twice = {"shard/x": parts["shard/a.1of2"], "shard/y": shard(1, 3, inputs, store)}
    with pytest.raises(UserError, match=r"shard/x and shard/y: shards: sample 0 is in two of them"):
        run_job("measure", "a", recipe(), inputs | twice, store)
    assert not list(store.root.glob("unfinished/*/*"))


def test_shards_of_another_measurement_are_no_part_of_this_one(inputs: dict[str, Manifest], store: Store) -> None:
    parts = {f"shard/{number}": shard(number, 2, inputs, store, components=["residual"]) for number in (1, 2)}
    made, _ = run_job("measure", "a", recipe(), inputs | parts, store)
    assert passes(store)[-1] == len(SAMPLES) + PROBED
    other = Store(store.root / "other")
    for manifest in inputs.values():
        for item in manifest.objects.values():
            other.path(item).parent.mkdir(parents=True, exist_ok=True)
            other.path(item).hardlink_to(store.path(item))
    assert run_job("measure", "a", recipe(), inputs, other)[0] == made


def test_what_an_interrupted_join_has_measured_itself_is_kept(inputs: dict[str, Manifest], store: Store) -> None:
    """It had no shards; then one arrives that has less."""
    part = shard(2, 3, inputs, store)
    with store.unfinished("k" * 64) as folder:
        saved = read_part(store.path(part.objects[PART]))
        more = dataclasses.replace(saved, samples=list(range(5)))
        more.write(folder / PART)
        from maxact.measure.join import join
        from maxact.stages import uses_of
        from maxact.store.job import Job

        uses = uses_of("measure", "a")
        join(Job("measure", "a", recipe()["parameters"], {"shard/a.2of3": part}, uses, store, folder, folder))
        assert read_part(folder / PART).samples == more.samples
