"""Code that a checkpoint brings runs only where the study opts in to it, and only the code that it pins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from layout.checkpoint import write_layout

from maxact.checkpoints.folder import folder_digest
from maxact.checkpoints.load import load_model
from maxact.checkpoints.own_code import code_digest, register
from maxact.cli import main
from maxact.errors import UserError
from maxact.recipes import write_stamps
from maxact.sites.components import PAPER
from maxact.store.objects import Manifest, Store
from maxact.store.run import run_job
from maxact.study import Study, load_study

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def recipe(stage: str, folder: Path, sha256: str | None = None) -> dict[str, Any]:
    """A job on the checkpoint, in this process: the layout's code runs under transformers 5 too."""
    opening = {"dtype": "bfloat16", "attention": "sdpa", "components": list(PAPER)}
    source = {"source": {"kind": "folder", "path": str(folder), "sha256": folder_digest(folder)}}
    parameters = {"model_type": "bailing_moe", "remote_code": {"sha256": sha256 or code_digest(folder)}}
    return {"parameters": parameters | (source if stage == "checkpoint" else opening), "code": "c", "packages": {}}


def leave_a_trace(folder: Path) -> Path:
    """Let the code write a file when it is run."""
    trace = folder / "trace"
    file = folder / "modeling_layout.py"
    file.write_text(file.read_text() + f"\nopen({str(trace)!r}, 'w').close()\n")
    return trace


def test_the_code_is_kept_beside_the_weights_and_measuring_needs_nothing_else(folder: Path, store: Store) -> None:
    asked = recipe("checkpoint", folder)
    checkpoint, _ = run_job("checkpoint", "layout", asked, {}, store)
    code = {"configuration_layout.py", "modeling_layout.py"}
    assert set(checkpoint.objects) == {"config.json", "model.safetensors", *code}
    assert checkpoint.summary["code"] == asked["parameters"]["remote_code"]["sha256"]
    assert {name: checkpoint.summary[name] for name in ("model_type", "layers", "hidden_size")} == {
        "model_type": "bailing_moe", "layers": 3, "hidden_size": 64,
    }  # fmt: skip
    pq.write_table(
        pa.table({"sample": [0], "split": ["rest"], "token_ids": [[1, 2, 3]]}), folder.parent / "tokens.parquet"
    )
    pq.write_table(pa.table({"token_id": [1], "text": ["one"]}), folder.parent / "vocabulary.parquet")
    kept = {name: store.put(folder.parent / name) for name in ("tokens.parquet", "vocabulary.parquet")}
    inputs = {"tokens": Manifest("tokens", "t", "", {}, kept, {}), "checkpoint": checkpoint}
    asked = recipe("measure", folder)
    for file in folder.iterdir():
        file.unlink()
    measured, _ = run_job("measure", "layout", asked, inputs, store)
    assert (measured.summary["sites"], measured.summary["tokens"]) == (2 + 5 * 3 - 1, 3)


def test_another_digest_is_one_line_and_nothing_is_run(folder: Path, store: Store) -> None:
    asked = recipe("checkpoint", folder)
    trace = leave_a_trace(folder)
    with pytest.raises(
        UserError, match=r"SHA-256 of its code is [0-9a-f]{64}, the study pins .*; none of it was run"
    ) as caught:
        run_job("checkpoint", "layout", asked, {}, store)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    assert not list(store.root.glob("objects/*/*"))
    register(folder, code_digest(folder))
    assert trace.exists()


def test_taking_a_checkpoint_runs_none_of_its_code(folder: Path, store: Store) -> None:
    trace = leave_a_trace(folder)
    run_job("checkpoint", "layout", recipe("checkpoint", folder), {}, store)
    assert not trace.exists()


def test_a_configuration_that_leaves_sizes_to_the_code_is_one_line(folder: Path, store: Store) -> None:
    file = folder / "config.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "vocab_size"})
    )
    with pytest.raises(UserError, match=r"^checkpoint layout: config\.json does not say vocab_size; add it$"):
        run_job("checkpoint", "layout", recipe("checkpoint", folder), {}, store)


def test_code_that_changes_in_the_store_is_not_run(folder: Path) -> None:
    """What a later stage is given is compared again."""
    pinned = code_digest(folder)
    trace = leave_a_trace(folder)
    with pytest.raises(UserError, match="none of it was run"):
        register(folder, pinned)
    assert not trace.exists()


def test_names_and_contents_of_the_code_decide_its_digest_and_nothing_else_does(folder: Path) -> None:
    before = code_digest(folder)
    (folder / "config.json").write_text("{}")
    assert code_digest(folder) == before
    (folder / "modeling_layout.py").rename(folder / "modeling.py")
    assert code_digest(folder) != before


def test_without_opting_in_the_code_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "mystery"}
    (folder / "config.json").write_text(json.dumps(config))
    trace = leave_a_trace(folder)
    with pytest.raises(UserError, match="needs code of its own, which is not run"):
        load_model(folder)
    assert not trace.exists()


def test_the_command_line_says_how_to_opt_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = leave_a_trace(folder)
    (folder.parent / "tokens.jsonl").write_text('{"input_ids": [1]}\n')
    assert main(["measure", str(folder), "--tokens", str(folder.parent / "tokens.jsonl")]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert "code of its own" in line
    assert "remote_code" in line
    assert not trace.exists()


def test_the_digest_to_pin_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["digest", "--code", str(folder)])
    assert capsys.readouterr().out.strip() == code_digest(folder)


def set_auto_map(folder: Path, **classes: str) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"auto_map": config["auto_map"] | classes}))


USELESS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no code": (lambda f: [file.unlink() for file in f.glob("*.py")], r"no \*\.py file"),
    "code of another repository": (
        lambda f: set_auto_map(f, AutoConfig="other/repository--configuration_layout.LayoutConfig"),
        "auto_map names no class of a file beside it for AutoConfig",
    ),
    "a path": (
        lambda f: set_auto_map(f, AutoConfig="../layout/configuration_layout.LayoutConfig"),
        "auto_map names no class",
    ),
    "no such class": (
        lambda f: set_auto_map(f, AutoModelForCausalLM="modeling_layout.Absent"),
        r"modeling_layout\.py: cannot be imported \(AttributeError",
    ),
    "a package that is not here": (
        lambda f: (f / "modeling_layout.py").write_text("import no_such_package"),
        r"modeling_layout\.py: cannot be imported \(ModuleNotFoundError.*environment of its own",
    ),
}


@pytest.mark.parametrize("case", USELESS)
def test_code_that_cannot_be_used_is_one_line(case: str, folder: Path) -> None:
    change, expected = USELESS[case]
    change(folder)
    with pytest.raises(UserError, match=expected) as caught:
        register(folder, code_digest(folder))
    assert "\n" not in str(caught.value)


def study_with(tmp_path: Path, **changed: Any) -> Study:
    """The pocket study with a checkpoint that brings code."""
    study = yaml.safe_load((REPOSITORY / "studies" / "pocket.yaml").read_text(encoding="utf-8"))
    study["families"]["ling"] = {"model_type": "bailing_moe", "tokenizer": "SmolLM2-135M-Instruct"}
    source = {"kind": "folder", "path": "ling", "sha256": "0" * 64}
    checkpoint = {"name": "ling", "family": "ling", "source": source, "perplexity_ceiling": 40.0}
    checkpoint |= {"environment": "ling", "remote_code": {"sha256": "1" * 64}}
    study["checkpoints"].append({key: value for key, value in (checkpoint | changed).items() if value is not None})
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    return load_study(file)


def test_its_environment_and_code_are_in_the_recipes_of_one_checkpoint_and_in_no_other(tmp_path: Path) -> None:
    write_stamps(load_study(REPOSITORY / "studies" / "pocket.yaml"), tmp_path / "before", REPOSITORY / "envs")
    write_stamps(study_with(tmp_path), tmp_path / "after", REPOSITORY / "envs")
    before = {path.relative_to(tmp_path / "before"): path.read_text() for path in tmp_path.glob("before/*/*.json")}
    after = {path.relative_to(tmp_path / "after"): path.read_text() for path in tmp_path.glob("after/*/*.json")}
    jobs = {Path(stage, "ling.json") for stage in ("checkpoint", "loading_check", "measure", "quantize", "tokens")}
    assert after.keys() - before.keys() == jobs
    assert {path for path in before if before[path] != after[path]} == {Path("results/results.json")}
    assert "remote_code" in json.loads(after[Path("checkpoint", "ling.json")])["parameters"]
    for stage in ("loading_check", "measure"):
        stamp = json.loads(after[Path(stage, "ling.json")])
        other = json.loads(after[Path(stage, "SmolLM2-135M-Instruct.json")])
        assert (stamp["environment"], stamp["parameters"]["remote_code"]) == ("ling", {"sha256": "1" * 64})
        assert stamp["packages"]["transformers"].startswith("4.")
        assert other["packages"]["transformers"].startswith("5.")
        assert stamp["packages"]["torch"] == other["packages"]["torch"]
        assert not {"environment", "remote_code"} & {*other, *other["parameters"]}
    for stage in ("checkpoint", "quantize", "tokens"):
        assert "environment" not in json.loads(after[Path(stage, "ling.json")])


def test_a_study_must_opt_in_to_code_that_a_family_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(ling\): bailing_moe checkpoints bring code of their own.*give remote_code"):
        study_with(tmp_path, remote_code=None)


def test_an_unknown_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoints\[\d+\]\.environment: .*'ling'"):
        study_with(tmp_path, environment="lang")


@pytest.mark.parametrize("key", ["environment", "remote_code"])
def test_a_planted_checkpoint_has_neither(key: str, tmp_path: Path) -> None:
    given = {
        "environment": None,
        "remote_code": None,
        key: {"environment": "ling", "remote_code": {"sha256": "1" * 64}}[key],
    }
    peak = {"component": "residual", "layer": 0, "channel": 1, "value": 12288.0}
    planted = {"kind": "planted", "seed": 1, "layers": 2, "peak": peak}
    with pytest.raises(UserError, match=f"{key} is given for a source of kind planted"):
        study_with(tmp_path, source=planted, family="planted-qwen2", perplexity_ceiling=None, **given)
