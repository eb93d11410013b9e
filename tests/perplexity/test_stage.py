"""The stage on a checkpoint in a folder: what it stores, on which samples."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measure.models import tiny
from oracles import perplexity as oracle
from perplexity.test_run import CALIBRATION, EVALUATION, asked

from maxact.measure.run import Sample, measure
from maxact.perplexity.plan import NOT_NORMED
from maxact.perplexity.stage import SCHEMA, SITES, compute
from maxact.quantize.tensors import KINDS
from maxact.sites.components import COMPONENTS
from maxact.stages import STAGES
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store


def job(folder: Path, quantizers: list[dict[str, Any]], model: Any, samples: int | None = None) -> Job:
    """A job on a tiny model, whose calibration samples come first."""
    store, tokens = Store(folder / "artifacts"), folder / "tokens.parquet"
    split = ["calibration"] * len(CALIBRATION) + ["evaluation"] * len(EVALUATION) + ["rest"]
    ids = [*CALIBRATION, *EVALUATION, [3, 4]]
    rows = [
        {"id": str(number), "domain": "web", "split": name, "token_ids": token_ids}
        for number, (name, token_ids) in enumerate(zip(split, ids, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tokens)
    model.save_pretrained(folder / "model")
    found = measure(
        model, [Sample(n, "calibration", tuple(token_ids)) for n, token_ids in enumerate(CALIBRATION)], list(COMPONENTS)
    )
    files = {
        "tokens": [tokens],
        "checkpoint": [folder / "model" / name for name in ("config.json", "model.safetensors")],
        "measure": list(found.write(folder / "measurement").values()),
    }
    inputs = {
        source: Manifest(source, "x", "k", {}, {file.name: store.put(file) for file in items}, {})
        for source, items in files.items()
    }
    parameters = {"dtype": "bfloat16", "attention": "sdpa", "model_type": model.config.model_type}
    parameters |= {"quantizers": quantizers, "samples": samples, "seed": 1}
    scratch = folder / "scratch"
    scratch.mkdir()
    return Job("perplexity", "tiny", parameters, inputs, STAGES["perplexity"].uses, store, scratch)


def test_the_stage_stores_what_each_quantizer_costs_and_where_it_is_applied(tmp_path: Path) -> None:
    quantizers = [asked("int8", policy="max", components=KINDS["linear_inputs"]), asked("int4", "token")]
    quantizers.append(asked("int8", "token") | {"smooth": 0.5})
    quantizers = [{**quantizer, "tensors": ["linear_inputs"]} for quantizer in quantizers]
    model = tiny("qwen3_moe:dense_layer")
    product = compute(job(tmp_path, quantizers, model))
    table, places = (pq.read_table(product.files[f"{name}.parquet"]) for name in ("perplexity", "sites"))
    assert (table.schema, places.schema) == (SCHEMA, SITES)
    first, *rows = table.to_pylist()
    plain = oracle.perplexity(model, EVALUATION)
    assert first["perplexity"] == pytest.approx(plain, rel=1e-4)
    assert [first[name] for name in ("quantizer", "format", "ratio", "divergence", "sites")] == [
        None,
        None,
        1.0,
        0.0,
        0,
    ]
    assert [row["quantizer"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["perplexity"] / first["perplexity"])
        assert row["divergence"] > 0
        assert (row["tokens"], row["samples"]) == (57 - 1, len(EVALUATION))
        assert row["tensors"] == "linear_inputs"
    assert rows[0]["divergence"] < rows[1]["divergence"]  # eight bits and four
    listed = Counter((row["quantizer"], row["reason"] is None) for row in places.to_pylist())
    # Two layers of experts have a down projection for each, which is not reached; the dense one has one, which is.
    assert listed == {
        (0, True): 10,
        (0, False): 4,
        **{(n, known): 10 if known else 2 for n in (1, 2) for known in (True, False)},
    }
    assert [row["sites"] for row in rows] == [10, 10, 10]
    # A router takes what the norm before the experts gives: of three layers these are smoothed, and one MLP.
    assert [(row["smooth"], row["smoothed"]) for row in rows] == [(None, 0), (None, 0), (0.5, 4)]
    plain = Counter((row["component"], row["plain"]) for row in places.to_pylist() if row["plain"] is not None)
    assert plain["attention_context", NOT_NORMED] == 3
    assert {component for component, _ in plain} == {"attention_context", "down_input", "mlp_input"}
    assert product.summary["tokens"] == 56
    assert product.costs["forward_passes"] == 4 * len(EVALUATION)


def test_a_perplexity_that_is_not_finite_is_stored_as_missing(tmp_path: Path) -> None:
    model = tiny("llama")
    model.model.embed_tokens.weight.data[EVALUATION[2][0]] = 3e38  # a cast to float16 makes it infinite
    given = {**asked("float16", components=["residual", "embedding"]), "tensors": ["residual"]}
    product = compute(job(tmp_path, [given], model))
    first, row = pq.read_table(product.files["perplexity.parquet"]).to_pylist()
    assert math.isfinite(first["perplexity"])
    assert [row[name] for name in ("perplexity", "ratio", "divergence")] == [None, None, None]
