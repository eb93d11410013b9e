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
from published.tree import MODELS, made, study, written

from maxact.errors import UserError
from maxact.figures import registry as figures
from maxact.figures.stage import draw, read_frame
from maxact.figures.style import styled
from maxact.published.files import file_digests
from maxact.published.stage import compute as import_results
from maxact.published.where import note_source
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
