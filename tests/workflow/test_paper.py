"""config.yaml, the paper's study, from pinning to report: on a hub of tiny random checkpoints, on CPU, with short samples.

What is tried is the study as it is written: its names, families, pairs and rules. Its numbers say nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from corpus.test_datasets import ENOUGH, LETTERS, documents, json_lines
from hub.server import Hub, Serving
from layout.checkpoint import write_layout
from measure.models import tiny
from tokenizers import Tokenizer, models, pre_tokenizers
from workflow.harness import REPOSITORY, Workspace, checkout

from maxact.cli import main
from maxact.store.objects import Store
from maxact.store.verify import faults
from maxact.study.comparisons import Comparisons

SIZES = {256: 12, 512: 12, 1024: 12, 2048: 24, 4096: 48}
"""Characters, and so tokens here, in the place of tokens of LLaMA-2."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Serving(Hub()) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def tokenizer_files() -> dict[str, bytes]:
    """A token for each character; small enough for tiny checkpoints."""
    alphabet = sorted(set("".join(LETTERS.values())) | set("0123456789"))
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    return {"tokenizer.json": tokenizer.to_str().encode(), "tokenizer_config.json": b"{}"}


def fill(hub: Hub, study: dict[str, Any], folder: Path) -> None:
    """A repository for each checkpoint, in the architecture that its family declares."""
    hub.repository(study["tokenizers"]["llama-2"]["repository"]).commit(tokenizer_files())
    for number, checkpoint in enumerate(study["checkpoints"]):
        model_type = study["families"][checkpoint["family"]]["model_type"]
        target = folder / checkpoint["name"]
        if model_type == "bailing_moe":
            write_layout(target, initializer_range=0.1 + 0.01 * number)
        else:
            tiny(model_type, seed=number).save_pretrained(target)
        files = {file.name: file.read_bytes() for file in target.iterdir()}
        hub.repository(checkpoint["source"]["repository"]).commit(files | tokenizer_files())


def shortened(study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The study with short samples out of a file, on CPU; nobody's perplexity is low."""
    file = json_lines(
        folder / "shard.jsonl.zst",
        documents({kind: 8 * count for kind, count in {**ENOUGH, ("RedPajamaGithub", "Latn"): 20}.items()}),
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lengths = Counter()
    for length, weight in study["corpus"]["lengths"].items():
        lengths[SIZES[length]] += weight
    study["corpus"] |= {"source": {"kind": "files", "files": [{"path": str(file), "sha256": digest}]}}
    study["corpus"] |= {"samples": 50, "lengths": dict(lengths), "documents": 5000}
    study["tokens"]["splits"] = {"calibration": 10, "evaluation": 20}
    study["loading_check"]["tokens"] = 100
    study["perplexity"]["samples"] = 4
    study["measure"] |= {"device": "cpu", "threads": 1}
    study["sensitivity"]["samples"] = 10
    study["paper_check"] |= {"calibration": 10, "evaluation": 20}
    for checkpoint in study["checkpoints"]:
        checkpoint["perplexity_ceiling"] = 1e30
    return study


@pytest.mark.slow
def test_the_papers_study_runs_from_pinning_to_report(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ling's stand-ins are measured in their environment, which is made once, by pip with its settings."""
    study = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    (tmp_path / "checkout").mkdir()
    workspace = Workspace(checkout(tmp_path / "checkout"), shortened(study, tmp_path))
    fill(hub, workspace.study, tmp_path / "models")
    workspace.write("config.yaml")
    assert main(["pin", str(workspace.folder / "config.yaml")]) == 0
    (workspace.folder / "config.lock.json").rename(workspace.folder / "study.lock.json")
    pinned = len(hub.requests)  # the headers of weights are read then
    names = [checkpoint["name"] for checkpoint in workspace.study["checkpoints"]]
    assert len(set(names)) == 27

    run = workspace.snakemake()
    for stage in ("checkpoint", "loading_check", "measure", "quantize", "perplexity"):
        assert [line for line in run.computed if line.startswith(f"{stage}/")] == sorted(f"{stage}/{n}" for n in names)
    served = Counter(path for path, _ in hub.requests[pinned:] if path.endswith("model.safetensors"))
    assert set(served.values()) == {1}
    assert len(served) == 27

    store = Store(workspace.folder / "artifacts")
    assert not list(store.root.glob("objects/*/*.safetensors"))
    assert list(faults(store)) == []

    tables = workspace.folder / "reports" / "paper" / "tables"
    compared = pd.read_csv(tables / "comparisons.csv")
    groups = Comparisons.model_validate(workspace.study["comparisons"]).groups()
    for question, members in groups.items():
        assert members, question
        found = {
            str(group): list(part.checkpoint)
            for group, part in compared[compared.question == question].groupby("group")
        }
        assert found == members
    assert compared.verdict.notna().all()
    assert (workspace.folder / "reports/paper/report.html").exists()

    again = workspace.snakemake()
    assert again.started == []
    told = json.loads((workspace.folder / "artifacts/paper/corpus/corpus.json").read_text())["summary"]
    assert "shortfall" not in told
