"""`maxact compare`: the numbers are those of the oracle, what differs is found, what is missing is told."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from measure.models import tiny
from oracles import compare as oracle

from maxact.checkpoints.folder import folder_digest
from maxact.cli import main
from maxact.compare.report import differing_settings
from maxact.compare.samples import paired, sign_test
from maxact.compare.sides import known_same, open_side
from maxact.compare.sites import TOLERANCES, apart, kolmogorov_smirnov, parse_tolerances
from maxact.errors import UserError

LINES = [[1, 2, 3, 4], [5], [6, 7, 8], [9, 10]]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def measured(folder: Path, lines: list[list[int]], change: Callable[[Any], None] | None = None) -> Path:
    """The tables of a tiny model, as the command writes them."""
    model = tiny("qwen3_moe")
    if change:
        with torch.no_grad():
            change(model)
    model.save_pretrained(folder / "Tiny")
    tokens = folder / "tokens.jsonl"
    tokens.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in lines), encoding="utf-8")
    arguments = ["measure", folder / "Tiny", "--tokens", tokens, "--tables", folder / "tables"]
    assert main([str(argument) for argument in arguments]) == 0
    return folder / "tables"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured(tmp_path_factory.mktemp("original"), LINES)


@pytest.fixture(scope="module")
def louder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One row of the last layer's attention output is three times as large."""

    def change(model: Any) -> None:
        model.model.layers[2].self_attn.o_proj.weight[5] *= 3

    return measured(tmp_path_factory.mktemp("louder"), LINES, change)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def edited(folder: Path, table: str, change: Change) -> None:
    file = folder / f"{table}.parquet"
    schema = pq.read_schema(file)
    frame = change(pd.read_parquet(file, dtype_backend="numpy_nullable"))
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), file)


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.err if code == 2 else captured.out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, text = told(capsys, *arguments, "--json")
    return code, json.loads(text)


def test_a_measurement_does_not_differ_from_itself(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = as_json(capsys, original, copy, "--tolerance", "0", "--tolerance", "distribution=0", "--all-sites")
    assert code == 0
    assert not found["differs"]
    assert found["settings"] == []
    assert all(item["difference"] == 0 for site in found["sites"] for item in site["statistics"].values())
    assert all((row["differ"], row["samples"], row["sign_test"]) == (0, len(LINES), None) for row in found["samples"])


def test_what_was_changed_in_the_weights_is_what_differs(
    original: Path, louder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = as_json(capsys, original, louder)
    assert code == 1
    assert found["settings"] == ["other weights"]
    differing = {f"{site['component']}@{site['layer']}" for site in found["sites"] if site["differs"]}
    assert "attention_output@2" in differing
    assert not [site for site in differing if site.endswith(("@0", "@1"))]
    code, text = told(capsys, original, louder, "--tolerance", "10", "--tolerance", "distribution=1")
    assert code == 0
    assert "0 of " in text


def test_the_numbers_are_those_of_the_oracle(original: Path, louder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = as_json(capsys, original, louder)
    sides = [
        {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("sites", "samples", "histograms")}
        for folder in (original, louder)
    ]
    numbers = {
        (row.component, None if pd.isna(row.layer) else int(row.layer)): row.site
        for row in sides[0]["sites"].itertuples()
    }
    values = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)
    for site in found["sites"]:
        number = numbers[site["component"], site["layer"]]
        rows = [side["sites"].set_index("site").loc[number] for side in sides]
        for what, column in [
            ("peak", "peak"),
            ("rms", "rms"),
            ("abs_mean", "abs_mean"),
            ("quantile_0.9", "quantile_0.9"),
        ]:
            item = site["statistics"][what]
            assert (item["a"], item["b"]) == tuple(row[column] for row in rows)
            assert item["difference"] == pytest.approx(float(oracle.apart(item["a"], item["b"])), abs=1e-15)
        lists = []
        for side in sides:
            part = side["histograms"][side["histograms"].site == number]
            lists.append(
                [
                    float(values[code])
                    for code, count in zip(part.code, part["count"], strict=True)
                    for _ in range(count)
                ]
            )
        if max(map(len, lists)) < 600:
            distance = float(oracle.kolmogorov_smirnov(*lists))
            assert site["statistics"]["distribution"]["difference"] == pytest.approx(distance, abs=1e-15)
    by_site = {row["site"]: row for row in found["samples"]}
    number = numbers["attention_output", 2]
    maxima = [
        side["samples"][side["samples"].site == number].set_index("sample")[["max", "min"]].abs().max(axis=1)
        for side in sides
    ]
    row = by_site["attention_output@2"]
    assert row["larger_b"] == int((maxima[1] > maxima[0]).sum())
    assert row["larger_a"] == int((maxima[0] > maxima[1]).sum())
    ratios = np.maximum(*maxima) / np.minimum(*maxima)
    assert row["ratio"] == pytest.approx(float(ratios.max()))
    assert row["sample"] == int(ratios.idxmax())


@pytest.mark.parametrize("seed", range(20))
def test_distance_and_apart_on_random_and_hostile_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    pool = np.array([0.0, -0.0, 1.0, -1.0, 2.0**-133, 65504.0, 3e38, -3e38, *random.normal(size=4)])
    lists = [random.choice(pool, random.integers(1, 30)) for _ in range(2)]
    counted = [np.unique(values.view(np.uint64), return_counts=True) for values in lists]  # -0.0 apart from 0.0
    arguments = [part for bits, counts in counted for part in (bits.view(np.float64), counts)]
    distance = kolmogorov_smirnov(*arguments)
    assert distance == pytest.approx(float(oracle.kolmogorov_smirnov(*map(list, lists))), abs=1e-15)
    for a, b in zip(*(values[:5].tolist() for values in lists), strict=False):
        assert apart(a, b) == pytest.approx(float(oracle.apart(a, b)), abs=1e-15)
        assert apart(a, b) == apart(b, a)


def test_an_infinity_is_infinitely_far_from_a_number_and_not_from_itself() -> None:
    assert apart(math.inf, math.inf) == 0
    assert apart(math.inf, 3.0) == math.inf


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0), (3, 3), (2, 3), (9, 0), (4, 8)])
def test_the_sign_test_counts_every_fall_of_the_coins(a: int, b: int) -> None:
    assert sign_test(a, b) == float(oracle.sign_test(a, b))
    assert sign_test(0, 0) is None


def test_what_is_missing_is_told_and_never_compared(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of published results: no samples, no distribution, hardly a statistic."""
    for table in ("samples", "histograms"):
        (copy / f"{table}.parquet").unlink()
    columns = ["rms", "abs_mean", "peak_sample", "massive_tokens_passed", "nan", "tokens"]
    edited(copy, "sites", lambda frame: frame.assign(**dict.fromkeys(columns, pd.NA)))
    (copy / "about.json").unlink()
    code, text = told(capsys, original, copy)
    assert code == 0
    for statistic in ("rms", "mean", "massive", "distribution", "nonfinite"):
        assert f"  {statistic:<13} not compared: a side has no value" in text
    assert f"samples are not paired: {copy} has no maxima of samples" in text
    assert "note: tokens: not known of B" in text
    assert "note: other number of tokens: A 10, B not known" in text
    edited(copy, "sites", lambda frame: frame.assign(peak=frame["peak"] * 2))
    assert told(capsys, original, copy)[0] == 1


@pytest.mark.parametrize("missing", ["histograms", "rms", "peak", "nan", "massive_tokens_passed"])
def test_a_gate_takes_a_statistic_that_one_side_lacks_for_a_difference(
    missing: str, original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing == "histograms":
        (copy / "histograms.parquet").unlink()
    else:
        gone = {missing: pd.NA}
        edited(copy, "sites", lambda frame: frame.assign(**gone))
    for sides in ((original, copy), (copy, original)):
        code, text = told(capsys, *sides)
        assert code == 0
        assert "of those compared one side lacks a statistic; with --all-sites that is a difference" in text
        code, text = told(capsys, *sides, "--all-sites")
        assert code == 1
        assert "one side lacks a statistic; by --all-sites that is a difference" in text
    # What neither side has is no difference.
    code, text = told(capsys, copy, copy, "--all-sites")
    assert code == 0
    assert "COMPARED" not in text


def test_how_many_sites_were_compared_is_told(original: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(copy, "sites", lambda frame: frame[frame["component"] == "embedding"])
    code, text = told(capsys, original, copy)
    assert code == 0
    total = int((pd.read_parquet(original / "sites.parquet")["status"] == "measured").sum())
    assert f"\nCOMPARED 1 OF {total} SITES; {total - 1} are in A only, 0 in B only; with --all-sites" in text
    assert told(capsys, original, copy, "--all-sites")[0] == 1


def test_a_site_that_one_side_lacks_is_listed(original: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(copy, "sites", lambda frame: frame[frame["component"] != "router_logits"])
    code, text = told(capsys, original, copy)
    assert code == 0
    assert "In A only:\n  router_logits at 3 layers: not measured in B" in text
    assert told(capsys, original, copy, "--all-sites")[0] == 1
    assert "In B only:\n  router_logits at 3 layers: not measured in A" in told(capsys, copy, original)[1]


def test_a_site_that_the_other_architecture_has_not_is_a_difference(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(frame: pd.DataFrame) -> pd.DataFrame:
        gone = frame["component"] == "router_logits"
        return frame.assign(
            status=frame["status"].mask(gone, "not applicable"), reason=frame["reason"].mask(gone, "dense")
        )

    edited(copy, "sites", without)
    code, text = told(capsys, original, copy)
    assert code == 1
    assert "router_logits at 3 layers: not applicable (dense) in B" in text


def test_samples_of_other_tokens_are_not_paired(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = measured(tmp_path, [*LINES[:-1], [11, 12]])
    _, found = as_json(capsys, original, other)
    assert found["settings"] == ["other tokens"]
    assert found["samples"] == []
    assert found["pairing"] == "other tokens"


def test_a_nan_is_a_difference_however_small_its_share(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(copy, "sites", lambda frame: frame.assign(nan=frame["nan"].mask(frame["site"] == 4, 1)))
    code, found = as_json(capsys, original, copy)
    assert code == 1
    assert [list(site["statistics"]) for site in found["sites"] if site["differs"]]
    differing = [name for site in found["sites"] for name, item in site["statistics"].items() if item["beyond"]]
    assert differing == ["nonfinite"]


def test_tolerances_are_by_statistic_or_for_all_that_are_relative() -> None:
    assert parse_tolerances([]) == TOLERANCES
    assert parse_tolerances(["0.5"]) == TOLERANCES | dict.fromkeys(["peak", "rms", "mean", "quantiles", "massive"], 0.5)
    assert parse_tolerances(["0.5", "peak=0", "distribution=1"])["peak"] == 0
    for text, told in [
        ("peek=1", "--tolerance peek=1: 'peek' is not compared; did you mean 'peak'?"),
        ("-1", "--tolerance -1: give a number from 0, such as 0.05 or peak=0.1"),
        ("peak=nan", "--tolerance peak=nan: give a number"),
    ]:
        with pytest.raises(UserError, match=told.replace("?", r"\?").replace("0.05", "0[.]05")):
            parse_tolerances([text])


def damage(folder: Path, what: str) -> None:
    sites = folder / "sites.parquet"
    if what == "truncated":
        sites.write_bytes(sites.read_bytes()[:400])
    elif what == "old":
        frame = pd.read_parquet(sites).drop(columns="abs_median")
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sites)
    elif what == "about":
        (folder / "about.json").write_text("[]")
    elif what == "none":
        sites.unlink()
    elif what == "other":
        frame = pd.read_parquet(sites)
        frame["component"] += "x"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sites)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("truncated", "sites.parquet cannot be read (ArrowInvalid); write it again"),
        ("old", "sites.parquet has no column abs_median, so another version of maxact wrote it; measure again"),
        ("about", "about.json: not what `maxact measure --tables` writes"),
        ("none", "has no sites.parquet; give a folder that `maxact measure --tables` has written"),
        ("other", "no site has a value on both sides, so there is nothing to compare"),
    ],
)
def test_a_folder_that_is_of_no_use_is_one_line(
    what: str, expected: str, original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy, what)
    code, error = told(capsys, original, copy)
    assert code == 2
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere", "nowhere: no such folder; give a folder of tables, a manifest, or STUDY.yaml:CHECKPOINT"),
        ("nowhere.json", "nowhere.json: no such file; give artifacts/STUDY/measure/CHECKPOINT.json"),
        ("nowhere.yaml:x", "nowhere.yaml: cannot be read (FileNotFoundError); give a study file"),
        ("STUDY:planted-qwen4", "planted-qwen4: not a checkpoint of the study 'pocket'; did you mean 'planted-qwen"),
        ("STUDY:planted-qwen2", "planted-qwen2.json: planted-qwen2 is not there yet; run snakemake --configfile "),
    ],
)
def test_a_measurement_that_is_not_there_is_one_line(
    name: str, expected: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name.replace("STUDY", str(Path(__file__).parents[2] / "studies" / "pocket.yaml"))
    code, error = told(capsys, original, name, "--store", tmp_path)
    assert code == 2
    assert expected in error
    assert error.count("\n") == 1


def test_digests_of_other_kinds_are_not_told_as_other_weights(original: Path) -> None:
    """Of a study they are of objects in the store, of a folder of tables of what the command was given."""
    folder = open_side(str(original), original)
    study = replace(folder, name="study", settings={**folder.settings, "weights": "1", "tokens": "2"}, study=True)
    (told,) = differing_settings(folder, study, folder.table("sites"), study.table("sites"))
    assert told.startswith("not known to be the same: weights, tokens, measuring code, as a study and a folder")
    assert paired(folder, study)[1] == f"the tokens of {original} are not known to be those of the study, in its order"


def test_a_study_and_a_folder_of_its_weights_and_tokens_are_known_to_be_of_the_same(
    original: Path, tmp_path: Path
) -> None:
    folder, tokens = open_side(str(original), original), tmp_path / "tokens.parquet"
    rows = [{"sample": number, "id": f"s{number}", "token_ids": ids} for number, ids in enumerate(LINES)]
    pq.write_table(pa.Table.from_pylist(rows[::-1]), tokens)
    settings = {**folder.settings, "weights": "1", "tokens": "2"}
    digest = folder_digest(original.parent / "Tiny")
    study = replace(folder, name="study", settings=settings, study=True, tokens=tokens, folder_digest=digest)
    (told,) = differing_settings(study, folder, study.table("sites"), folder.table("sites"))
    assert told.startswith("not known to be the same: measuring code, as")
    pairs, why = paired(study, folder)
    assert (list(pairs.a), list(pairs.b), why) == ([0, 1, 2, 3], [0, 1, 2, 3], "the same tokens")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.Table.from_pylist([{**row, "token_ids": [1]} for row in rows]), other)
    assert not known_same("tokens", replace(study, tokens=other), folder)
    assert not known_same("weights", replace(study, folder_digest=None), folder)
