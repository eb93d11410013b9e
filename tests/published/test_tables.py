"""What the files say of a checkpoint is in its tables, number by number, and what they do not say is null."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from maxact.measurement import SCHEMAS, read_table
from maxact.published.files import Published, read_tree
from maxact.published.names import carries_M
from maxact.published.tables import SITES, Imported, imported, write_table
from maxact.quantize.stage import SCHEMA as ERRORS
from published.tree import Model, made, written

SMALL = "Small/json/small-1b_activation_stats.json"
FIELDS = {
    "max": "max",
    "min": "min",
    "mean": "mean",
    "std": "std",
    "abs_mean": "abs_mean",
    "rms": "rms",
    "count": "count",
    "abs_median": "abs_median",
    "quantile_0.25": "abs_q25",
    "quantile_0.75": "abs_q75",
    "quantile_0.9": "abs_q90",
    "quantile_0.99": "abs_q99",
    "quantile_0.999": "abs_q999",
    "peak": "sun_peak_abs",
    "tokens": "sun_n_tokens",
    "massive_tokens": "sun_n_tokens",
    "massive_tokens_passed": "sun_n_pass",
    "massive_max_ratio": "sun_max_ratio",
    "massive_max_ratio_abs": "sun_max_ratio_abs",
    "massive_max_ratio_median": "sun_max_ratio_median",
    "massive_mean_ratio": "sun_mean_ratio",
    "massive_std_ratio": "sun_std_ratio",
    "massive_peak_ratio": "sun_peak_token_ratio",
    "massive_peak_median": "sun_peak_token_median",
}
"""Ours and theirs, as docs/authors-fields.md has them."""
FOLLOWING = {"holds", "channels", "nan", "positive_infinity", "negative_infinity", "peak_signed", "approximate", "peak"}
NAMED = {"site", "component", "layer", "status", "published_name", "contradicted"}


def one(published: Published, name: str) -> Imported:
    return imported(published.checkpoint(name), next((run for run in published.quant if run.name == name), None))


def read_back(found: Imported, folder: Path) -> pd.DataFrame:
    return read_table(write_table(found.sites, SITES, folder / "sites.parquet"))


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Published]:
    def read(change: Callable[[dict[str, Any]], Any] = lambda files: None) -> Published:
        files = json.loads(json.dumps(made()))
        change(files)
        return read_tree(written(tmp_path / "tree", files))

    return read


def check_numbers(published: Published, name: str, folder: Path) -> None:
    sites = read_back(one(published, name), folder)
    theirs = published.checkpoint(name).sites
    assert list(sites.published_name) == [site for site in theirs if site in set(sites.published_name)]
    for row in sites.to_dict("records"):
        values = theirs[row["published_name"]]
        for column in set(sites.columns) - NAMED:
            if column in FIELDS and FIELDS[column] in values:
                assert row[column] == values[FIELDS[column]], (name, row["published_name"], column)
            elif column not in FOLLOWING:
                assert pd.isna(row[column]), (name, row["published_name"], column)
        assert abs(row["peak_signed"]) == row["peak"] == max(values["max"], -values["min"])
        assert row["nan"] == row["positive_infinity"] == row["negative_infinity"] == 0
        assert row["approximate"] == carries_M(row["published_name"])


def test_every_number_of_the_files_is_in_sites_and_all_else_is_null(
    tree: Callable[..., Published], tmp_path: Path
) -> None:
    for name in ("small-7b", "routed-8b", "deep-4b"):
        check_numbers(tree(), name, tmp_path)


def test_names_of_sites_become_our_components_in_forward_order(tree: Callable[..., Published]) -> None:
    sites = one(tree(), "routed-8b").sites
    assert list(sites.component[:6]) == [
        *("embedding", "attention_output", "router_output", "mlp_output", "residual", "attention_output")
    ]
    assert sites.component.iloc[-1] == "final_norm"
    assert list(sites.site) == list(range(len(sites)))
    assert list(SITES.names[: len(SCHEMAS["sites"].names)]) == SCHEMAS["sites"].names


def test_M_is_at_its_site_with_ties_told_and_no_place_invented(tree: Callable[..., Published]) -> None:
    def tie(files: dict[str, Any]) -> None:
        sites = files["Small/json/small-7b_activation_stats.json"]["per_layer_stats"]
        sites["layer_2_mlp_output"] |= {"min": -2048.0, "sun_peak_abs": 2048.0}
        sites["layer_2_mlp_gate"] |= {"max": 4096.0}

    found = one(tree(tie), "small-7b").headline
    nowhere = {"channel": None, "sample": None, "position": None}
    ties = [{"component": "mlp_output", "layer": 2}]
    M = {"value": 2048.0, "signed": -2048.0, "component": "residual", "layer": 1, **nowhere, "ties": ties}
    assert found["M"] == M
    assert (found["M_with_gate"]["value"], found["M_with_gate"]["component"]) == (4096.0, "gate")
    assert found["nonfinite"] == 0


def test_a_site_that_is_missing_has_a_row_that_says_so(tree: Callable[..., Published]) -> None:
    def remove(files: dict[str, Any]) -> None:
        sites = files[SMALL]["per_layer_stats"]
        for name in [name for name in sites if name.startswith("layer_2_")]:
            del sites[name]
        sites["layer_1_hidden"]["max"] = float("nan")
        sites["embedding_output"]["mean"] = None

    found = one(tree(remove), "small-1b")
    sites = found.sites.set_index("published_name")
    assert list(sites.index[sites.status == "missing"]) == [
        *("layer_1_hidden", "layer_2_attn_output", "layer_2_mlp_gate", "layer_2_mlp_output", "layer_2_hidden")
    ]
    assert sites.reason["layer_1_hidden"] == f"{SMALL} lacks a max and min of it that can be used"
    assert sites.reason["layer_2_hidden"] == f"{SMALL} lacks the site"
    assert sites.peak.isna().sum() == 5
    assert sites.rms.notna()["layer_1_hidden"]
    assert found.headline["nonfinite"] is None  # whether there were any cannot be told
    assert found.summary["ancestry"] == "as published, without 4 sites, M contradicted"
    assert found.headline["M"]["value"] < 512


@pytest.mark.parametrize(
    ("site", "field", "value", "told"),
    [
        ("layer_0_hidden", "sun_peak_abs", 1e9, "M contradicted"),
        ("layer_0_hidden", "sun_peak_abs", 200704.0, "1 maximum contradicted"),
        ("layer_0_hidden", "rms", 1e9, "M contradicted"),
        ("layer_0_mlp_gate", "rms", 1e9, "1 maximum contradicted"),
        ("layer_3_hidden", "abs_mean", 1e7, "M contradicted"),
        ("layer_3_hidden", "abs_mean", 1e5, None),
        ("layer_3_hidden", "mean", -1e5, "M contradicted"),
        ("layer_0_hidden", "mean", -1e5, "1 maximum contradicted"),
        ("layer_3_hidden", "std", 2e5, "M contradicted"),
        ("layer_3_hidden", "rms", 1.0, "M contradicted"),
        ("layer_3_hidden", "rms", 4e4, None),
        ("layer_3_hidden", "abs_median", 1e6, "M contradicted"),
        ("layer_3_hidden", "abs_median", 1e5, None),
        ("layer_0_hidden", "abs_q999", 1e6, "M contradicted"),
        ("layer_0_hidden", "sun_n_pass", 1, "1 maximum contradicted"),
        ("layer_0_hidden", "count", 0, None),
        ("layer_0_hidden", "std", -1.0, None),
        ("layer_0_hidden", "max", -1e4, "without 1 site"),
        ("layer_3_hidden", "max", -1e9, "without 1 site, M contradicted"),
    ],
)
def test_M_is_contradicted_by_whatever_gives_a_larger_one(
    tree: Callable[..., Published], site: str, field: str, value: float, told: str | None
) -> None:
    """A mean above the rms, but below the maximum, is a fault of a mean alone; without a pair of extremes there is a gap."""

    def change(files: dict[str, Any]) -> None:
        files["Deep/json/deep-4b_activation_stats.json"]["per_layer_stats"][site][field] = value

    published = tree(change)
    file = "Deep/json/deep-4b_activation_stats.json"
    assert file in {problem.file for problem in published.problems}
    assert one(published, "deep-4b").summary["ancestry"] == ", ".join(filter(None, ["as published", told]))


def test_what_is_beyond_the_decoder_is_listed_and_not_measured(tree: Callable[..., Published]) -> None:
    found = one(tree(lambda files: files[SMALL].update(num_hidden_layers=2)), "small-1b")
    assert found.left_out == ("layer_2_attn_output", "layer_2_mlp_gate", "layer_2_mlp_output", "layer_2_hidden")
    assert found.sites.layer.max() == 1


@pytest.mark.parametrize(
    ("layers", "beyond", "ancestry"),
    [
        (3, {}, "as published, M contradicted"),  # the files' own M is in the layer that the decoder has not
        (4, {"max": 1e9}, "as published"),  # the files' own M is that of the decoder
    ],
)
def test_M_is_that_of_the_decoder_and_contradicted_where_the_files_have_another(
    tree: Callable[..., Published], layers: int, beyond: dict[str, float], ancestry: str
) -> None:
    def change(files: dict[str, Any]) -> None:
        file = files["Deep/json/deep-4b_activation_stats.json"]
        file["num_hidden_layers"] = layers
        if beyond:
            file["per_layer_stats"]["layer_4_hidden"] = file["per_layer_stats"]["layer_2_hidden"] | beyond

    found = one(tree(change), "deep-4b")
    assert (found.headline["M"]["value"] == 200704.0) == (layers == 4)
    assert found.summary["ancestry"] == ancestry


def test_the_largest_values_keep_their_signs_and_have_no_place(tree: Callable[..., Published]) -> None:
    published = tree()
    found = one(published, "small-7b")
    top = published.checkpoint("small-7b").top
    assert top is not None
    for site, part in found.top.groupby("site"):
        name = found.sites.published_name[site]
        assert tuple(part.value) == top.sites[name].values
        assert list(part["rank"]) == list(range(5))
    assert found.top[["sample", "position", "channel", "token_id", "token"]].isna().all(axis=None)


def test_errors_have_our_columns_and_policies(tree: Callable[..., Published], tmp_path: Path) -> None:
    published = tree()
    found = one(published, "routed-8b")
    run = next(run for run in published.quant if run.name == "routed-8b")
    errors = read_table(write_table(found.errors, ERRORS, tmp_path / "errors.parquet"))
    assert list(errors.policy) == ["max", "quantile_0.9"]
    for row, metric in zip(errors.to_dict("records"), (run.metrics[1], run.metrics[0]), strict=True):
        assert (row["format"], row["granularity"], row["component"]) == ("int8", "tensor", "final_norm")
        assert row["threshold"] == run.thresholds[metric["policy"]]["final_layernorm"]
        assert row["scale"] == row["threshold"] / 127
        assert (row["elements"], row["mae"], row["rmse"]) == (metric["count"], metric["mae"], metric["rmse"])
        assert (row["relative_rmse"], row["sqnr_db"]) == (metric["rel_rmse"], metric["sqnr_db"])
        assert pd.isna(row["zero_point"])
    assert one(published, "deep-4b").errors.empty


def test_a_name_that_leads_out_of_a_folder_is_no_name(tree: Callable[..., Published]) -> None:
    found = tree(lambda files: files[SMALL].update(model_name="../../small"))
    assert "small-1b" not in {checkpoint.name for checkpoint in found.checkpoints}
    assert f"{SMALL}: model_name: '../../small' is no name of a model" in map(str, found.problems)


def test_another_number_of_layers_or_a_router_is_no_special_case(tmp_path: Path) -> None:
    models = (Model("A", "a", at="layer_0_hidden", layers=1), Model("B", "b", layers=7, router=True))
    published = read_tree(written(tmp_path / "tree", made(models)))
    assert published.problems == ()
    assert [len(imported(found, None).sites) for found in published.checkpoints] == [6, 30]


def test_every_number_of_the_authors_files_is_imported_and_M_is_theirs(authors_results: Path, tmp_path: Path) -> None:
    published = read_tree(authors_results)
    for checkpoint in published.checkpoints:
        check_numbers(published, checkpoint.name, tmp_path)
        M = imported(checkpoint, None).headline["M"]
        assert M["signed"] == checkpoint.global_maximum
        site = checkpoint.global_maximum_location.partition(" ")[0]
        sites = one(published, checkpoint.name).sites.set_index("published_name")
        assert (M["component"], M["layer"]) == (
            sites.component[site],
            None if pd.isna(sites.layer[site]) else sites.layer[site],
        )
