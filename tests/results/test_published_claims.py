"""The claims of the paper on result files, by way of the importer: the authors' own, and a made-up tree under other names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from published.tree import MODELS, Model, made, study, written
from results.test_published import results_of

from maxact.results.claims import WITHOUT_DOUBTS
from maxact.results.claims.claim import Verdict

STUDIES = Path(__file__).parents[2] / "studies"

Claims = Mapping[str, Mapping[str, Any]]


def claims_of(tree: Path, config: dict[str, Any], folder: Path) -> Claims:
    """By name, as `claims.json` has them."""
    file = results_of(tree, config, folder).files["claims.json"]
    return {claim["name"]: claim for claim in json.loads(file.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def authors(authors_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Claims:
    config = yaml.safe_load((STUDIES / "published.yaml").read_text(encoding="utf-8"))
    return claims_of(authors_results, config, tmp_path_factory.mktemp("authors"))


def test_the_authors_files_give_the_numbers_of_the_paper(authors: Claims) -> None:
    held = {name: claim["verdict"] for name, claim in authors.items() if claim["verdict"] == Verdict.HOLDS}
    assert {"largest", "scaling", "experts", "residual", "massive", "stability"} <= held.keys()
    assert authors["residual"]["value"].startswith("22 of 24; ")
    assert authors["massive"]["value"].startswith("20 of 24; ")
    assert authors["largest"]["value"] == "696,320 in gemma-3-27b-it"
    lower = {row["checkpoint"]: row["times_lower"] for row in authors["experts"]["evidence"] if row["times_lower"]}
    assert {name: round(value, 1) for name, value in lower.items()} == {"Qwen3-30B-A3B": 23.4, "Qwen3.5-35B-A3B": 14.0}
    assert not any(claim["in_doubt"] for claim in authors.values())


def test_the_checkpoints_whose_size_no_name_tells_are_named(authors: Claims) -> None:
    unsized = "; 4 without a known size: " + ", ".join(f"Ling-mini-base-2.0-{at}T" for at in (5, 10, 15, 20))
    assert authors["scaling"]["value"].endswith(unsized)
    windows = [one for one in authors["span"]["depends"] if one["choice"].startswith("parameters within")]
    assert [one["value"].endswith(unsized) for one in windows] == [True]


def test_subsets_with_M_and_above_it_are_those_of_the_audit(authors: Claims) -> None:
    reached = [one["value"] for one in authors["stability"]["depends"] if one["choice"] == "M itself is reached"]
    assert reached == ["in 10 of 40 subsets, and exceeded in 2"]


def asked(models: tuple[Model, ...] = MODELS) -> dict[str, Any]:
    """A study that has something to say on each claim."""
    one, other, tuned, mixture, deep = (model.name for model in models)
    config = study(models)
    for checkpoint, billions in zip(config["checkpoints"], (1.0, 7.0, 1.0, 8.0, 4.0), strict=True):
        checkpoint["billions"] = billions
    config["comparisons"] = {
        "scaling": {"a": [one, other]},
        "matched_sizes": {"b": [one, deep], "c": [other, mixture]},
        "moe_vs_dense": {"d": [other, mixture]},
        "base_vs_instruct": {"e": [one, tuned]},
    }
    return config


def test_where_files_lie_and_what_they_are_called_changes_no_claim(tmp_path: Path) -> None:
    files = made()
    moved: dict[str, Any] = {}
    for path, content in reversed(files.items()):
        folder, _, name = path.rpartition("/")
        series, _, below = folder.partition("/")
        other = name if series in ("bootstrap", "quant") else f"z{len(moved):02d}-{name}"
        moved[f"{series if not below else series[::-1] + '/' + below}/{other}"] = content
    one = claims_of(written(tmp_path / "one", files), asked(), tmp_path / "a")
    assert claims_of(written(tmp_path / "other", moved), asked(), tmp_path / "b") == one
    assert {claim["verdict"] for claim in one.values()} > {Verdict.UNKNOWN}


def test_what_checkpoints_are_called_changes_no_verdict(tmp_path: Path) -> None:
    names = {model.name: f"{'zyxwv'[at]}-model" for at, model in enumerate(MODELS)}
    files, config = json.dumps(made()), json.dumps(asked())
    one = claims_of(written(tmp_path / "one", json.loads(files)), json.loads(config), tmp_path / "a")
    for old, new in sorted(names.items(), key=lambda item: -len(item[0])):
        files, config = (
            text.replace(f'"{old}"', f'"{new}"').replace(f"/{old}_", f"/{new}_") for text in (files, config)
        )
    assert not any(name in config for name in names)
    other = claims_of(written(tmp_path / "other", json.loads(files)), json.loads(config), tmp_path / "b")
    for name, claim in one.items():
        assert other[name]["verdict"] == claim["verdict"]
        assert [row["verdict"] for row in other[name]["depends"]] == [row["verdict"] for row in claim["depends"]]


def test_claims_that_rest_on_an_M_in_doubt_say_so_and_what_they_are_without_it(tmp_path: Path) -> None:
    files = made()
    files["Small/json/small-7b_activation_stats.json"]["per_layer_stats"]["layer_1_hidden"]["mean"] = -1e4
    files["Deep/json/deep-4b_activation_stats.json"]["per_layer_stats"]["layer_0_hidden"]["max"] = -1e4
    found = claims_of(written(tmp_path / "tree", files), asked(), tmp_path)
    doubts = {"small-7b": "M contradicted", "deep-4b": "without 1 site"}
    assert {name for name, claim in found.items() if claim["in_doubt"] == doubts} >= {"span", "scaling", "residual"}
    assert found["stability"]["in_doubt"] == {"deep-4b": "without 1 site"}
    assert found["experts"]["in_doubt"] == {"small-7b": "M contradicted"}
    without = found["experts"]["depends"][-1]
    assert (without["choice"], without["verdict"]) == (WITHOUT_DOUBTS, Verdict.UNKNOWN)
    page = (tmp_path / "scratch" / "claims.md").read_text(encoding="utf-8")
    assert "**In doubt:** small\\-7b \\(M contradicted\\)" in page
