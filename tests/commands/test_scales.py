"""The command `maxact scales`: what it writes of a stored measurement, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from quantize.exported import SAMPLES, Made, reached
from workflow.harness import small_study

from maxact.cli import main
from maxact.measure.run import measure
from maxact.quantize.smoothed import SMOOTHING
from maxact.sites.components import COMPONENTS, PAPER
from maxact.store.objects import Manifest, Store


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made("qwen2", tmp_path_factory.mktemp("qwen2"))


@pytest.fixture
def study(one: Made, tmp_path: Path) -> Path:
    """The file of a study, and beside it a store in which its checkpoint planted-qwen2 is measured; the other is not."""
    described = small_study()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    put(tmp_path / "artifacts", one, list(COMPONENTS))
    return tmp_path / "study.yaml"


def put(root: Path, one: Made, components: list[str]) -> None:
    """What stages would have put into a store."""
    store, name = Store(root), "planted-qwen2"

    def add(stage: str, files: dict[str, Path], summary: dict[str, Any], recipe: Any, inputs: dict[str, str]) -> str:
        key = {"checkpoint": "a", "tokens": "b", "measure": "c"}[stage] * 64
        objects = {name: store.put(file) for name, file in files.items()}
        made = Manifest(stage, name, key, recipe, objects, summary)
        record = json.loads(made.to_json()) | {"inputs": inputs}
        store.record_action(key, record)
        path = root / "small" / stage / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.to_json())
        return key

    scratch = root / "scratch"
    scratch.mkdir(parents=True)
    copies = {}
    for file in sorted(one.folder.glob("*")):
        copies[file.name] = scratch / file.name
        copies[file.name].write_bytes(file.read_bytes())
    about = {"source": "this software", "ancestry": "planted", "licence": "Apache-2.0"}
    inputs = {
        "checkpoint": add("checkpoint", copies, about, {"parameters": {"source": {"kind": "planted"}}}, {}),
        "tokens": add("tokens", {}, {"splits": {"calibration": 2, "evaluation": 1, "rest": 1}}, {"parameters": {}}, {}),
    }
    tables = measure(one.model, SAMPLES, components).write(scratch / "tables")
    add("measure", tables, {}, {"parameters": {"dtype": "bfloat16"}}, inputs)


def told(capsys: pytest.CaptureFixture[str], study: Path, *arguments: object) -> tuple[int, str]:
    from maxact.store import workspace

    code = main(["scales", str(study), *map(str, arguments), "--store", str(study.parent / "artifacts")])
    for stream in workspace._HELD:  # as the end of the process would
        stream.close()
    workspace._HELD.clear()
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("measurement", ["c" * 64, "d" * 64], ids=["this", "another"])
def test_the_command_tells_what_the_evaluation_of_this_very_measurement_reached(
    measurement: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(study.parent / "artifacts")
    file = study.parent / "smoothing.parquet"
    pq.write_table(pa.Table.from_pandas(reached(0.5), SMOOTHING, preserve_index=False), file)
    made = Manifest("evaluate", "planted-qwen2", "e" * 64, {}, {"smoothing.parquet": store.put(file)}, {})
    store.record_action(made.key, json.loads(made.to_json()) | {"inputs": {"measure": measurement}})
    path = store.root / "small" / "evaluate" / "planted-qwen2.json"
    path.parent.mkdir()
    path.write_text(made.to_json())
    code, printed = told(capsys, study, "planted-qwen2", "--out", study.parent / "out")
    assert code == 0, printed
    groups = json.loads((study.parent / "out" / "quantization_config.json").read_text())["maxact"]["smoothquant"]
    (told_of,) = [group["reached"] for group in groups if (group["component"], group["layer"]) == ("mlp_input", 1)]
    assert (told_of == "not measured") == (measurement != "c" * 64)


def test_the_command_exports_a_stored_measurement(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "out"
    code, printed = told(
        capsys, study, "planted-qwen2", "--out", out, "--format", "fp8_e4m3", "--policy", "mse", "--alpha", "0.6"
    )
    assert code == 0, printed
    assert printed.startswith(
        f"{out}: planted-qwen2 (planted): 21 input scales, 6 of keys and values, 6 of SmoothQuant; 0 left"
    )
    about = json.loads((out / "quantization_config.json").read_text())["maxact"]
    assert "planted" in about["planted"]
    assert (about["study"], about["checkpoint"], about["ancestry"]) == ("small", "planted-qwen2", "planted")
    assert (about["format"], about["policy"], about["alpha"]) == ("fp8_e4m3", "mse", 0.6)
    assert (about["calibration_samples"], about["not_measured"], about["left_out"]) == (2, [], [])
    assert about["measurement"]["action"] == "c" * 64
    assert len(about["sites"]) == 18
    assert not list((study.parent / "artifacts" / "scratch").glob("tmp*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["planted-qwen9"],
            "error: planted-qwen9: not a checkpoint of the study 'small'; did you mean 'planted-qwen2'?",
        ),
        (["planted-qwen3-moe"], "error: planted-qwen3-moe: not measured yet; run snakemake --cores all --configfile "),
        (
            ["planted-qwen2", "--policy", "most"],
            "error: --policy most: not a policy; say max, mse, entropy or quantile_0.",
        ),
        (["planted-qwen2", "--alpha", "1.5"], "error: --alpha 1.5: not from 0 to 1"),
        (["planted-qwen2", "--alpha", "nan"], "error: --alpha nan: not from 0 to 1"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = told(capsys, study, *arguments, "--out", study.parent / "out")
    assert code == 2
    assert printed.startswith(message)
    assert printed.count("\n") == 1
    assert not (study.parent / "out").exists()


def test_a_folder_with_something_in_it_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = told(capsys, study, "planted-qwen2", "--out", study.parent)
    assert (code, printed) == (
        2, f"error: --out {study.parent}: is there already and is no empty folder; give another, or remove it\n"
    )  # fmt: skip


def test_a_measurement_of_the_papers_components_has_nothing_to_export(
    one: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small_study(), sort_keys=False))
    put(tmp_path / "artifacts", one, list(PAPER))
    code, printed = told(capsys, tmp_path / "study.yaml", "planted-qwen2", "--out", tmp_path / "out")
    assert code == 2
    assert "none of attention_input, attention_context, mlp_input, down_input, key, value was measured; " in printed
    assert "add them to measure.components, or say `all`" in printed
    assert printed.count("\n") == 1
