"""The stage `measure` on a real checkpoint folder and a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measure.models import tiny

from maxact.errors import UserError
from maxact.measure.headline import headline
from maxact.measure.probe import probe_samples
from maxact.measure.run import Sample, measure
from maxact.measure.stage import compute
from maxact.measurement import PROBE, Measurement
from maxact.sites.components import PAPER
from maxact.stages import STAGES
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store

SAMPLES = [Sample(0, "rest", (5, 6, 7)), Sample(1, "calibration", (8,)), Sample(2, "evaluation", (9, 5))]


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """A function that gives the job for these samples."""
    store, files = Store(tmp_path / "store"), tmp_path / "files"

    def make(samples: list[Sample] = SAMPLES, name: str = "a", **changed: Any) -> Job:
        folder = files / name
        tiny("qwen2").save_pretrained(folder / "checkpoint")
        rows = {name: [getattr(sample, name) for sample in samples] for name in ("sample", "split", "token_ids")}
        (folder / "tokens").mkdir()
        pq.write_table(pa.table(rows), folder / "tokens" / "tokens.parquet")
        texts = {"token_id": [5, 6], "text": ["five", None]}
        pq.write_table(pa.table(texts), folder / "tokens" / "vocabulary.parquet")
        inputs = {}
        for source in ("tokens", "checkpoint"):
            kept = [
                file for file in (folder / source).iterdir() if file.suffix in (".parquet", ".json", ".safetensors")
            ]
            objects = {file.name: store.put(file) for file in kept}
            inputs[source] = Manifest(source, source, "", {}, objects, {})
        parameters = {"dtype": "bfloat16", "attention": "sdpa", "model_type": "qwen2", "components": list(PAPER)}
        scratch = tmp_path / "scratch" / name
        scratch.mkdir(parents=True)
        return Job("measure", "tiny", parameters | changed, inputs, STAGES["measure"].uses, store, scratch)

    return make


def test_tables_summary_and_costs(job: Any) -> None:
    product = compute(job())
    found = Measurement.read(dict(product.files))
    assert json.loads(product.files[PROBE].read_text())["samples"] == [
        sample.sample for sample in probe_samples(SAMPLES)
    ]
    expected = measure(tiny("qwen2"), SAMPLES, list(PAPER), {5: "five"})
    assert headline(found) == headline(expected)
    assert product.summary == {
        **headline(expected), "attention": "sdpa", "nonfinite": 0, "sites": 3 * 4 + 2, "not_applicable": 3, "samples": 3,
        "tokens": 6, "batch_tokens": None,
    }  # fmt: skip
    assert (product.costs["forward_passes"], product.costs["tokens"]) == (3 + len(probe_samples(SAMPLES)), 6)
    texts = found.top[["token_id", "token"]].drop_duplicates().set_index("token_id").token.to_dict()
    assert texts[5] == "five"


def test_the_same_bytes_each_time(job: Any) -> None:
    first, second = compute(job(name="a")), compute(job(name="b"))
    assert {name: file.read_bytes() for name, file in first.files.items()} == {
        name: file.read_bytes() for name, file in second.files.items()
    }


def test_tokens_of_another_vocabulary_are_refused_before_anything_is_written(job: Any) -> None:
    wrong = job([Sample(0, "rest", (5, 96))])
    with pytest.raises(UserError, match="sample 0 has token id 96"):
        compute(wrong)
    assert not list(wrong.scratch.rglob("*.parquet"))


def test_a_family_of_another_architecture_is_refused(job: Any) -> None:
    with pytest.raises(UserError, match=r"qwen2.*llama"):
        compute(job(model_type="llama"))
