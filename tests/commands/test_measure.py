"""`maxact measure` and `maxact merge`, as a user meets them: what they print, and how they exit."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from measure.captured import same
from measure.models import tiny
from oracles.statistics import site_statistics
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from maxact.cli import main
from maxact.measurement import QUANTILES
from maxact.sites.components import PAPER

LINES = [[1, 2, 3, 4], [5], [6, 7, 8]]


def write_tokens(file: Path, lines: list[list[int]]) -> Path:
    file.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in lines), encoding="utf-8")
    return file


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens.jsonl", LINES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "Tiny-0.1B"
    tiny("qwen3_moe").save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(made: Path, tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint, to damage."""
    return Path(shutil.copytree(made, tmp_path / made.name))


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["measure", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


SITE = {
    "component", "layer", "dtype", "rounded", "count", "max", "min", "mean", "std", "abs_mean", "rms", "abs_median", "quantiles",
    "massive", "nonfinite",
}  # fmt: skip


def test_json_has_every_site_with_the_numbers_of_the_oracle(
    made: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(capsys, made, "--tokens", tokens, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) == {"checkpoint", "M", "sites", "not_applicable"}
    assert report["checkpoint"] == "Tiny-0.1B"
    absent = {(row["component"], row["layer"]) for row in report["not_applicable"] if row["component"] in PAPER}
    assert absent == {("gate", n) for n in range(3)}
    assert all(set(site) == SITE for site in report["sites"])

    hidden = []
    with torch.inference_mode():
        for ids in LINES:
            states = tiny("qwen3_moe")(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            hidden.append([state[0] for state in states])
    at = {(site["component"], site["layer"]): site for site in report["sites"]}
    for place, index in {
        ("embedding", None): 0,
        ("residual", 0): 1,
        ("residual", 1): 2,
        ("final_norm", None): 3,
    }.items():
        samples = [(number, "rest", states[index]) for number, states in enumerate(hidden)]
        expected = site_statistics(samples, QUANTILES).summary
        site = at[place]
        assert site["dtype"] == "bfloat16"
        for name in ("count", "max", "min", "abs_median"):
            assert site[name] == expected[name], (place, name)
        for name in ("mean", "std", "abs_mean", "rms"):
            assert same(site[name], expected[name], relative=1e-12, absolute=1e-15)
        assert site["quantiles"] == {q: expected[f"quantile_{q}"] for q in QUANTILES}
        ratios = {name: expected[f"massive_{name}"] for name in ("max_ratio", "peak_ratio")}
        whole = {name: expected[f"massive_{name}"] for name in ("tokens", "tokens_passed")}
        finite = {name: value if math.isfinite(value) else None for name, value in ratios.items()}
        assert site["massive"] == whole | finite


def test_M_is_over_what_the_paper_counts_and_says_where(
    made: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = told(capsys, made, "--tokens", tokens, "--json")
    report = json.loads(out)
    M = report["M"]
    assert set(M) == {"value", "signed", "component", "layer", "channel", "sample", "position", "ties"}
    counted = {"embedding", "residual", "attention_output", "mlp_output", "final_norm"}
    peaks = [max(site["max"], -site["min"]) for site in report["sites"] if site["component"] in counted]
    assert M["value"] == abs(M["signed"]) == max(peaks)
    _, text, _ = told(capsys, made, "--tokens", tokens)
    assert f"{M['value']:,.6g}" in text
    assert f"channel {M['channel']}, sample {M['sample']}, position {M['position']}" in text


def test_sites_that_reach_the_same_value_are_told(
    checkpoint: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks that add nothing leave the embedding as it is: every residual ties with it."""
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    for name, tensor in weights.items():
        if "o_proj" in name or "down_proj" in name:
            tensor.zero_()
        if "norm" in name:
            tensor.fill_(0.001)
    weights["model.embed_tokens.weight"][1, 5] = -3000.0
    save_file(weights, file, metadata={"format": "pt"})
    _, out, _ = told(capsys, checkpoint, "--tokens", tokens, "--json")
    M = json.loads(out)["M"]
    assert (M["value"], M["signed"], M["component"], M["layer"]) == (3008.0, -3008.0, "embedding", None)
    assert (M["channel"], M["sample"], M["position"]) == (5, 0, 0)
    assert M["ties"] == [{"component": "residual", "layer": layer} for layer in range(3)]


def test_a_gguf_file_is_measured(
    smollm2_gguf: Path, smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = write_tokens(tmp_path / "tokens.jsonl", [[504, 3575, 282, 4649, 314], [28, 905]])
    code, out, _ = told(capsys, smollm2_gguf, "--tokens", tokens, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["checkpoint"] == smollm2_gguf.stem
    assert report["M"]["value"] > 1000
    _, of_folder, _ = told(capsys, smollm2, "--tokens", tokens, "--json")
    assert json.loads(of_folder)["sites"] == report["sites"]


def test_text_is_tokenized_by_the_checkpoints_own_tokenizer(
    smollm2: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["The capital of France is Paris.", "def f(x):"]
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    tokens = write_tokens(
        tmp_path / "tokens.jsonl", [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    )
    (tmp_path / "text.txt").write_text("\n".join(texts))
    code, by_text, _ = told(capsys, smollm2, "--text", tmp_path / "text.txt", "--json")
    assert code == 0
    assert told(capsys, smollm2, "--tokens", tokens, "--json")[1] == by_text
    code, _, err = told(capsys, made, "--text", tmp_path / "text.txt")
    assert code == 2
    assert "has no tokenizer.json; give --tokens instead of --text" in err


def test_activations_that_are_not_finite_are_a_result_that_is_noticed(
    checkpoint: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    weights["model.embed_tokens.weight"][7, 3] = torch.inf
    save_file(weights, file, metadata={"format": "pt"})
    code, out, err = told(capsys, checkpoint, "--tokens", tokens, "--json")
    assert code == 3
    assert "NaN or infinite; M is over the finite ones" in err
    embedding = json.loads(out)["sites"][0]
    assert embedding["nonfinite"] == {
        "nan": 0, "positive_infinity": 1, "negative_infinity": 0,
        "first": {"sample": 2, "position": 1, "channel": 3},
    }  # fmt: skip
    weights["model.embed_tokens.weight"].fill_(torch.nan)
    save_file(weights, file, metadata={"format": "pt"})
    code, out, _ = told(capsys, checkpoint, "--tokens", tokens)
    assert code == 3
    assert "no activation is finite" in out
    code, out, _ = told(capsys, checkpoint, "--tokens", tokens, "--json")
    report = json.loads(out)
    assert (code, report["M"]) == (3, None)
    assert report["sites"][0]["max"] is report["sites"][0]["rms"] is report["sites"][0]["quantiles"]["0.999"] is None


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def make_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("text")


MISTAKES: dict[str, tuple[Any, list[list[int]] | None, str]] = {
    "truncated weights": (cut_short, None, "its header says"),
    "pickled weights": (make_pickle, None, "pickled weights can run code"),
    "a checkpoint without configuration": (lambda f: (f / "config.json").unlink(), None, "no config.json"),
    "no folder": (shutil.rmtree, None, "no such file or folder"),
    "a file that is no checkpoint": (as_file, None, "neither a folder nor a .gguf file"),
    "no tokens": (None, [], "empty"),
    "an empty sample": (None, [[1], []], "line 2: input_ids is empty"),
    "a token id outside the vocabulary": (None, [[1], [2, 96]], "sample 1 has token id 96"),
    "a sample longer than the context": (None, [[1] * 65], "sample 0 has 65 tokens, the model's context is 64"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    mistake: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, lines, expected = MISTAKES[mistake]
    if damage:
        damage(checkpoint)
    tokens = write_tokens(tmp_path / "tokens.jsonl", LINES if lines is None else lines)
    before = set(tmp_path.rglob("*"))
    code, out, err = told(capsys, checkpoint, "--tokens", tokens)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert set(tmp_path.rglob("*")) == before


def test_a_truncated_gguf_file_is_one_line(tmp_path: Path, tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00")
    code, out, err = told(capsys, file, "--tokens", tokens)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cut.gguf: not readable as GGUF" in err


def test_a_gpu_that_is_not_there_is_one_line(
    checkpoint: Path, tokens: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, output, errors = told(capsys, checkpoint, "--tokens", tokens, "--device", "cuda")
    assert (code, output) == (2, "")
    assert errors == "error: CUDA_VISIBLE_DEVICES is '', which hides every GPU; unset it or name devices in it\n"


@pytest.fixture
def shards(checkpoint: Path, tokens: Path, tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.npz" for number in (1, 2, 3)]
    for number, file in enumerate(files, 1):
        assert (
            main(["measure", str(checkpoint), "--tokens", str(tokens), "--shard", f"{number}/3", "--out", str(file)])
            == 0
        )
    return files


def test_shards_in_any_order_give_the_tables_of_one_run(
    checkpoint: Path, tokens: Path, shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert (
        main(["measure", str(checkpoint), "--tokens", str(tokens), "--json", "--tables", str(tmp_path / "whole")]) == 0
    )
    whole = capsys.readouterr().out
    assert main(["merge", *map(str, shards[::-1]), "--json", "--tables", str(tmp_path / "merged")]) == 0
    assert capsys.readouterr().out == whole
    tables = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    assert len(tables) == 8  # seven tables, and what they are of
    assert {file.name: file.read_bytes() for file in (tmp_path / "merged").iterdir()} == tables


def test_samples_in_passes_together_are_told_as_each_alone(
    checkpoint: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for more in ([], ["--batch-tokens", "64"]):
        assert main(["measure", str(checkpoint), "--tokens", str(tokens), "--json", *more]) == 0
        told.append(json.loads(capsys.readouterr().out))
    counts = [[(site["component"], site["count"]) for site in report["sites"]] for report in told]
    assert counts[0] == counts[1]
    assert told[1]["M"]["value"] == pytest.approx(told[0]["M"]["value"], rel=0.05)


def test_shards_that_are_missing_or_of_other_settings_are_one_line(
    checkpoint: Path, tokens: Path, shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    settings = ["--dtype", "float16", "--shard", "3/3", "--out", str(other)]
    assert main(["measure", str(checkpoint), "--tokens", str(tokens), *settings]) == 0
    capsys.readouterr()
    for arguments, told in [
        ([*shards[:2]], "1 samples are in none of them, such as 2"),
        ([*shards[:2], other], "shards differ in dtype: torch.bfloat16 and torch.float16"),
        ([*shards, shards[0]], "sample 0 is in two of them"),
    ]:
        assert main(["merge", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    for wrong in (["--shard", "4/3", "--out", "x"], ["--shard", "1/3"], ["--shard", "1/3", "--out", "x", "--json"]):
        assert main(["measure", str(checkpoint), "--tokens", str(tokens), *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_place_for_results_that_is_taken_is_refused_before_anything_is_measured(
    tmp_path: Path, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "no checkpoint is looked for"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "sites.parquet").write_text("of another")
    for arguments, expected in [
        (["--tables", taken], "is there already and is no empty folder"),
        (["--tables", tokens], "is there already and is no empty folder"),
        (["--shard", "1/2", "--out", taken], "no file can be there"),
        (["--shard", "1/2", "--out", tmp_path / "no" / "1.npz"], "no file can be there"),
    ]:
        code, output, error = told(capsys, nowhere, "--tokens", tokens, *arguments)
        assert (code, output, error.count("\n")) == (2, "", 1)
        assert expected in error
    assert main(["merge", str(tokens), "--tables", str(taken)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (taken / "sites.parquet").read_text() == "of another"
