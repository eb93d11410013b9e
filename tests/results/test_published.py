"""Tables and figures of published results: the numbers of the files, their gaps, and the spread over subsets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text
from published.stages import results_of
from published.tree import EXPERTS, MODELS, made, study, written

from maxact.errors import UserError
from maxact.figures import registry as figures
from maxact.figures.stage import draw, read_frame
from maxact.figures.style import styled
from maxact.published.listing import file_digests
from maxact.published.stage import compute as import_results
from maxact.published.where import note_source
from maxact.results.closing import closing_table
from maxact.results.registry import PUBLISHED, SUFFIXES, TABLES, made_of
from maxact.store.job import Job, Product
from maxact.store.objects import Store

STYLE = {"width_inches": 7.0, "font_size": 8.0, "dots_per_inch": 60}
PROVIDED = PUBLISHED | set(study()["comparisons"])
Made = Callable[..., Product]


@pytest.fixture
def results(tmp_path: Path) -> Made:
    def made_of_tree(
        change: Callable[[dict[str, Any]], Any] = lambda files: None,
        configure: Callable[[dict[str, Any]], Any] = lambda config: None,
    ) -> Product:
        files, config = json.loads(json.dumps(made())), study()
        change(files)
        configure(config)
        return results_of(written(tmp_path / "tree", files), config, tmp_path)

    return made_of_tree


def table(product: Product, name: str) -> pd.DataFrame:
    return pd.read_csv(product.files[f"{name}.csv"])


def test_it_makes_what_its_figures_read_and_every_table_that_can_be_made(results: Made) -> None:
    product = results()
    tables = {f"{name}.{suffix}" for name in made_of(TABLES, PUBLISHED) for suffix in SUFFIXES}
    read = {name for figure in made_of(figures.FIGURES, PROVIDED).values() for name in figure.reads}
    assert tables | read | {f"claims.{suffix}" for suffix in ("md", "json", "html")} == set(product.files)
    json.dumps(product.summary, allow_nan=False)


def test_every_figure_is_drawn_with_all_checkpoints_named(results: Made) -> None:
    product = results()
    for name, figure in made_of(figures.FIGURES, PROVIDED).items():
        frames = {item: read_frame(product.files[item]) for item in figure.reads}
        with styled(STYLE):
            drawn = draw(name, frames, STYLE)
            drawn.draw_without_rendering()
        text = " ".join(artist.get_text() for artist in drawn.findobj(Text) if artist.get_visible())
        shown = {model.name for model in MODELS}
        shown = {"small-1b", "deep-4b"} if name == "bootstrap" else shown
        shown = set(study()["comparisons"][figure.rows[1]]["small"]) if figure.rows else shown
        shown = set() if name == "scaling" else shown  # it names families
        shown = {"routed-8b"} if name == "moe_router_gate" else shown
        for checkpoint in shown:
            assert checkpoint.replace("-", "") in text.replace("-", "").replace(" ", "").replace("\n", ""), name
        assert "NaN or infinity" not in text
        assert "probabilities" not in text


def test_subsets_are_summed_up_as_a_plain_loop_does(results: Made) -> None:
    product, files = results(), made()
    rows = table(product, "bootstrap").set_index(["checkpoint", "size"])
    assert len(rows) == 4
    for (name, size), row in rows.iterrows():
        M = abs(next(model.M for model in MODELS if model.name == name))
        runs = [files[f"bootstrap/{name}_s{size}_r{n}_activation_stats.json"] for n in range(3)]
        found = [abs(run["global_max_activation"]) for run in runs]
        assert (row["M"], row.smallest, row.largest, row.subsets) == (M, min(found), max(found), 3)
        mean = sum(value / M for value in found) / 3
        assert row.mean_share == pytest.approx(mean, rel=1e-12)
        assert row.std_share == pytest.approx((sum((value / M - mean) ** 2 for value in found) / 2) ** 0.5, abs=1e-12)
        assert row.reach_M == sum(value == M for value in found)
        at = next(model.at for model in MODELS if model.name == name)
        assert row.same_site == sum(run["global_max_location"].startswith(at + " ") for run in runs)


def test_a_checkpoint_that_is_not_there_or_is_another_is_a_gap_with_its_reason(results: Made) -> None:
    def configure(config: dict[str, Any]) -> None:
        config["families"]["deep"]["model_type"] = "gemma"

    def change(files: dict[str, Any]) -> None:
        for path in [path for path in files if "small-7b" in path]:
            del files[path]

    product = results(change, configure)
    assert product.summary["absent"] == {
        "small-7b": "no statistics of small-7b in the published files",
        "deep-4b": "Deep/json/deep-4b_activation_stats.json: model_type: gemma3, where the family deep has gemma",
    }
    rows = table(product, "checkpoints").set_index("checkpoint")
    assert rows.kind[["small-7b", "deep-4b"]].tolist() == ["not available"] * 2
    verdicts = table(product, "verdicts").set_index("question").verdict
    assert verdicts["scaling"].startswith("cannot be compared")
    maxima = table(product, "global_maxima")
    assert maxima.checkpoint.tolist() == [model.name for model in MODELS], "each has its place"
    assert maxima.M.isna().tolist() == [name in product.summary["absent"] for name in maxima.checkpoint]
    for name in ("component_heatmap", "per_layer"):
        texts = texts_of(name, product)
        assert {"small-7b", "deep-4b"} <= set(texts)
        assert texts.count("not available") == 2, name
    assert "not available: small-7b, deep-4b" in texts_of("moe_router_gate", product)[-1]
    assert "M of all samples: not available" in texts_of("bootstrap", product), "its subsets can be read"


def texts_of(name: str, product: Product) -> list[str]:
    """What a figure of these results says, its notes last."""
    with styled(STYLE):
        figure = draw(name, {item: read_frame(product.files[item]) for item in figures.FIGURES[name].reads}, STYLE)
    return [artist.get_text() for artist in [*figure.findobj(Text), *figure.texts] if artist.get_visible()] + [
        figure.get_supxlabel()
    ]


def test_a_checkpoint_without_any_extreme_is_not_called_not_finite(results: Made) -> None:
    def change(files: dict[str, Any]) -> None:
        for site in files["Small/json/small-7b_activation_stats.json"]["per_layer_stats"].values():
            site["max"] = float("nan")

    product = results(change)
    for name in ("global_maxima", "per_layer", "emergence"):
        texts = texts_of(name, product)
        assert "not in the data" in texts, name
        assert not any("finite" in text for text in texts), name
    assert closing_table(product.summary["checkpoints"]).count("not in the data") == 1


def test_figures_without_any_M_say_what_is_missing_of_whom(results: Made) -> None:
    """One checkpoint can be read, and has no extremes; none has anything that is not finite."""

    def change(files: dict[str, Any]) -> None:
        for path in [path for path in files if "/json/" in path and "small-7b" not in path]:
            del files[path]
        for site in files["Small/json/small-7b_activation_stats.json"]["per_layer_stats"].values():
            site["max"] = float("nan")

    product = results(change)
    others = ", ".join(model.name for model in MODELS if model.name != "small-7b")
    shown = ("global_maxima", "massive_coverage", "component_heatmap", "int8_vs_M", "emergence", "error_vs_M")
    for name in shown:
        text = " ".join(" ".join(texts_of(name, product)).split())
        assert "not in the data: small-7b (without 11 sites)" in text, name
        assert f"not available: {others}" in text, name
        assert "finite" not in text, name


def test_a_maximum_that_other_numbers_of_the_files_contradict_is_marked_wherever_it_shows(results: Made) -> None:
    def change(files: dict[str, Any]) -> None:
        top = files["Small/json/small-7b_top5_stats.json"]["per_layer_stats"]["layer_1_hidden"]
        top["top5_abs"][0], top["top5_signed"][0] = 4096.0, -4096.0
        files["Deep/json/deep-4b_activation_stats.json"]["per_layer_stats"]["layer_0_hidden"]["sun_peak_abs"] *= 2
        files["Small/json/small-1b_activation_stats.json"]["per_layer_stats"]["layer_0_hidden"]["sun_n_tokens"] += 1

    product = results(change)
    weights = table(product, "global_maxima").set_index("checkpoint").weights
    assert weights.to_dict() == {model.name: "as published" for model in MODELS} | {
        "small-7b": "as published, M contradicted",
        "deep-4b": "as published, 1 maximum contradicted",
    }
    assert table(product, "global_maxima").set_index("checkpoint").M["small-7b"] == 2048
    assert "small-7b\n(M contradicted)" in texts_of("global_maxima", product)
    texts = texts_of("component_heatmap", product)
    assert "2,048 ?" in texts
    assert sum(text.endswith(" ?") for text in texts) == 1, "the largest of the other's residual stream stands"
    assert "?: other numbers of the files tell another" in texts
    assert "other numbers of the files tell another" in texts_of("per_layer", product)


def test_a_router_whose_values_are_no_scores_says_so(results: Made) -> None:
    def change(files: dict[str, Any]) -> None:
        for path, content in files.items():
            if path.endswith("routed-8b_activation_stats.json"):
                for site, values in content["per_layer_stats"].items():
                    if site.endswith("moe_gate"):
                        values |= {"min": 0.0, "max": 0.5, "mean": 1 / EXPERTS}

    product = results(change)
    assert any("router output: probabilities" in text for text in texts_of("moe_router_gate", product))
    assert "router output:\nprobabilities" in texts_of("per_layer", product)
    texts = texts_of("component_heatmap", product)
    assert any(text.startswith("0.5") and text.endswith(", prob.") for text in texts)
    assert texts[-1].endswith("grey: no activation, but what else a router put out")


def test_a_checkpoint_that_the_study_does_not_name_is_told(results: Made) -> None:
    def configure(config: dict[str, Any]) -> None:
        config["checkpoints"] = [one for one in config["checkpoints"] if one["name"] != "routed-8b"]

    told = table(results(configure=configure), "published_problems")
    assert told.checkpoint.tolist() == ["routed-8b"]
    assert "the study does not name" in told.what[0]


def test_the_error_is_at_the_peak_of_the_residual_stream_or_at_the_only_site_that_has_one(results: Made) -> None:
    rows = table(results(), "int8")
    assert rows.groupby("checkpoint")["at"].unique().map(list).to_dict() == {
        "small-1b": ["peak residual layer"],
        "small-7b": ["peak residual layer"],
        "small-1b-it": ["no error is known"],
        "routed-8b": ["only site with errors"],
        "deep-4b": ["no error is known"],
    }
    assert rows.site[rows.checkpoint == "routed-8b"].unique().tolist() == ["final_norm"]


def test_files_that_changed_after_the_workflow_was_read_are_refused(tmp_path: Path) -> None:
    tree = written(tmp_path / "tree", made())
    asked = {"files": file_digests(tree)}
    note_source(tmp_path / "store", asked["files"], {"folder": str(tree)})
    (tree / "quant" / "quant_sanity_summary.json").write_text("[]")
    with pytest.raises(UserError, match="its files have changed since the workflow was read; run again"):
        import_results(Job("published", "published", asked, {}, {}, Store(tmp_path / "store"), tmp_path))


def test_a_subset_without_the_maximum_of_a_site_is_left_out_and_told(results: Made) -> None:
    path = "bootstrap/small-1b_s2_r1_activation_stats.json"

    def change(files: dict[str, Any]) -> None:
        del files[path]["per_layer_stats"]["layer_1_hidden"]

    made_of_it = results(change)
    rows = table(made_of_it, "bootstrap").set_index(["checkpoint", "size"])
    assert (rows.subsets["small-1b", 2], rows.subsets["small-1b", 4]) == (2, 3)
    problems = table(made_of_it, "published_problems")
    told = problems.what[(problems.file == path) & (problems.severity == "left out")]
    assert list(told) == ["no maximum at 1 of the sites that M ranges over, so its M is left out of the subsets"]


def test_a_subset_whose_M_is_contradicted_is_left_out_and_told(results: Made) -> None:
    path = "bootstrap/small-1b_s2_r1_activation_stats.json"

    def change(files: dict[str, Any]) -> None:
        files[path]["global_max_activation"] = 1e6

    made_of_it = results(change)
    rows = table(made_of_it, "bootstrap").set_index(["checkpoint", "size"])
    assert (rows.subsets["small-1b", 2], rows.subsets["small-1b", 4]) == (2, 3)
    problems = table(made_of_it, "published_problems")
    assert "M is contradicted, so its M is left out of the subsets" in set(problems.what[problems.file == path])
