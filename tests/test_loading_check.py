"""The loading check computes perplexity as the plain way does, and stops a checkpoint that cannot predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from oracles import perplexity as oracle
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from maxact.errors import UserError
from maxact.loading_check import choose, compute, perplexity
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store


@pytest.fixture(scope="session")
def model() -> Any:
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=100,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def samples(lengths: list[int]) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [[int(token) for token in random.integers(0, 100, length)] for length in lengths]


@pytest.mark.parametrize("lengths", [[2], [50, 1, 3], [129, 130, 257], [128, 300]])
def test_perplexity_equals_the_plain_way(lengths: list[int], model: Any) -> None:
    found, tokens = perplexity(model, samples(lengths))
    assert found == pytest.approx(oracle.perplexity(model, samples(lengths)), rel=1e-5)
    assert tokens == sum(length - 1 for length in lengths)


def test_logits_that_an_architecture_caps_are_capped() -> None:
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    config = Gemma2Config(
        **sizes, vocab_size=100, num_key_value_heads=2, initializer_range=1.0, final_logit_softcapping=3.0
    )
    model = Gemma2ForCausalLM(config).eval()
    found, _ = perplexity(model, samples([50]))
    assert found == pytest.approx(oracle.perplexity(model, samples([50])), rel=1e-5)


def test_nothing_to_predict_is_refused(model: Any) -> None:
    with pytest.raises(UserError, match="no token is predicted"):
        perplexity(model, [[1], [2]])


ROWS = [
    {"id": f"{domain}-{number}", "domain": domain, "language": language, "token_ids": [1] * 11}
    for number in range(3)
    for domain, language in [("web", "en"), ("web", "fr"), ("code", "en")]
]


def test_samples_are_taken_in_order_until_enough() -> None:
    assert [row["id"] for row in choose(ROWS, ["web"], "en", 11)] == ["web-0", "web-1"]
    assert [row["id"] for row in choose(ROWS, ["web"], "en", 10)] == ["web-0"]
    with pytest.raises(UserError, match="31 asked, but the corpus has 30"):
        choose(ROWS, ["web"], "en", 31)


def job(tmp_path: Path, folder: Path, ceiling: float) -> Job:
    store = Store(tmp_path / "artifacts")
    tokens = tmp_path / "tokens.parquet"
    rows = [row | {"token_ids": ids} for row, ids in zip(ROWS, samples([40] * len(ROWS)), strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), tokens)
    files = {"tokens": [tokens], "checkpoint": [folder / "config.json", folder / "model.safetensors"]}
    inputs = {
        source: Manifest(source, "x", "k", {}, {file.name: store.put(file) for file in items}, {})
        for source, items in files.items()
    }
    parameters = {"domains": ["web"], "language": "en", "tokens": 60, "ceiling": ceiling}
    parameters |= {"dtype": "float32", "attention": "sdpa", "model_type": "llama"}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    uses = {"tokens": ("*",), "checkpoint": ("*",)}
    return Job("loading_check", "tiny", parameters, inputs, uses, store, scratch)


def test_the_stage_tells_what_it_found_or_stops(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "folder")
    (tmp_path / "high").mkdir()
    product = compute(job(tmp_path / "high", tmp_path / "folder", 1e9))
    stored = json.loads(product.files["perplexity.json"].read_text())
    assert stored["samples"] == ["web-0", "web-1"]
    assert stored["tokens"] == 78
    model.save_pretrained(tmp_path / "folder")
    (tmp_path / "low").mkdir()
    with pytest.raises(UserError, match=r"checkpoint tiny: perplexity .* on 78 tokens is above its ceiling of 1\.5"):
        compute(job(tmp_path / "low", tmp_path / "folder", 1.5))
