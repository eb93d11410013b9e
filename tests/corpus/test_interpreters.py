"""Keys and corpora have the same bytes on every supported Python: packages as locked, in an environment of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from interpreters import interpreter_of
from tokenizers import Tokenizer

REPOSITORY = Path(__file__).parents[2]
PACKAGES = (
    *("tokenizers", "pyarrow", "pydantic", "PyYAML", "numpy", "pandas", "datasets", "zstandard", "fonttools"),
    *("huggingface-hub", "httpx2", "tqdm"),
)
MADE = """
import hashlib, json, sys, tempfile
from pathlib import Path
from tokenizers import Tokenizer
from maxact.corpus.packaged_text import samples_of
from maxact.corpus import sampled_dataset
from maxact.recipes import recipes
from maxact.study import load_study

root, tokenizer, shard = map(Path, sys.argv[1:])
study = load_study(root / "studies" / "pocket.yaml")
studies = [load_study(root / name) for name in ("studies/pocket.yaml", "config.yaml")]
keys = [recipe for each in studies for _, recipe in recipes(each, root / "envs")]
samples, _ = samples_of(study.corpus.model_dump(), Tokenizer.from_file(str(tokenizer)))
digest = hashlib.sha256(shard.read_bytes()).hexdigest()
asked = load_study(root / "config.yaml").corpus.model_dump() | {
    "source": {"kind": "files", "files": [{"path": str(shard), "sha256": digest}]}, "samples": 40, "lengths": {"64": 1},
}
chosen, lacking = sampled_dataset.samples_of(asked, Tokenizer.from_file(str(tokenizer)))
text = json.dumps([keys, [vars(sample) for sample in samples], [vars(sample) for sample in chosen], lacking], sort_keys=True)
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, pocket, smollm2: Path) -> Path:  # type: ignore[no-untyped-def]
    """The pocket study's own samples in the schema of SlimPajama: text in many scripts."""
    import json

    from maxact.corpus.packaged_text import samples_of

    subsets = {"math": "RedPajamaArXiv", "code": "RedPajamaGithub", "web": "RedPajamaC4", "knowledge": "RedPajamaBook"}
    samples, _ = samples_of(pocket.corpus.model_dump(), Tokenizer.from_file(str(smollm2 / "tokenizer.json")))
    file = tmp_path_factory.mktemp("shard") / "shard.jsonl"
    rows = [
        {"text": sample.text, "meta": {"redpajama_set_name": subsets.get(sample.domain, "RedPajamaCommonCrawl")}}
        for sample in samples
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def made_by(python: Path, smollm2: Path, shard: Path) -> str:
    """The digest of keys and corpora, as an interpreter makes them."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow_scripts"), "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-c", MADE, str(REPOSITORY), str(smollm2 / "tokenizer.json"), str(shard)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_keys_and_corpora_are_the_same_on_other_versions_of_python(smollm2: Path, shard: Path, tmp_path: Path) -> None:
    """Packages come from the index that pip is set up with."""
    locked = (REPOSITORY / "envs" / "cpu.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", locked, re.MULTILINE))
    wanted = [f"{name}=={pins[name.lower()]}" for name in PACKAGES]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    tried = []
    for version in ("3.11", "3.12", "3.13"):
        interpreter = interpreter_of(version)
        if version == own or interpreter is None:
            continue
        environment = tmp_path / version
        subprocess.run([interpreter, "-m", "venv", str(environment)], check=True)
        python = environment / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        assert made_by(python, smollm2, shard) == made_by(Path(sys.executable), smollm2, shard), version
        tried.append(version)
    if not tried:
        pytest.skip("no other supported version of Python is installed")
