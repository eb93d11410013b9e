"""A study of published results, run by the real Snakemake on a made-up tree: what is computed, and what bad files do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hub.server import Hub, Serving
from published.tree import MODELS, made, study, written
from workflow.harness import REPOSITORY, Run, Workspace, checkout, copy_of, run_once

from maxact.figures.registry import FIGURES
from maxact.results.registry import PAGE_SUFFIXES, PAGES, PUBLISHED, TABLES, made_of

GIVEN = ("--config", "published_results=results")
BARS = "reports/made/figures/global_maxima.pdf"
SMALL = "results/Small/json/small-1b_activation_stats.json"


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAXACT_PUBLISHED", raising=False)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """A finished study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MAXACT_PUBLISHED", raising=False)
        return run_once(
            tmp_path_factory, "published", study(), *GIVEN, prepare=lambda folder: written(folder / "results", made())
        )


@pytest.fixture
def workspace(whole: tuple[Workspace, Run], tmp_path: Path) -> Workspace:
    """A copy of it to experiment with."""
    return copy_of(whole[0], tmp_path / "copy")


def test_every_table_and_figure_that_published_files_allow_is_made(whole: tuple[Workspace, Run]) -> None:
    workspace, run = whole
    figures = made_of(FIGURES, PUBLISHED | set(study()["comparisons"]))
    others = ["audit/audit", "published/published", "results/results"]
    assert run.computed == sorted([*(f"figures/{name}" for name in figures), *others])
    reports = workspace.folder / "reports" / "made"
    assert {file.stem for file in (reports / "tables").iterdir()} == set(made_of(TABLES, PUBLISHED))
    assert {file.stem for file in (reports / "figures").iterdir()} == set(figures)
    assert (reports / "report.html").stat().st_size > 100_000
    pages = {f"{name}.{suffix}" for name in PAGES for suffix in PAGE_SUFFIXES}
    assert {file.name for file in reports.iterdir() if file.is_file()} == {*pages, "report.html"}
    maxima = pd.read_csv(reports / "tables" / "global_maxima.csv").set_index("checkpoint")
    assert maxima.M.to_dict() == {
        "small-1b": 512,
        "small-7b": 2048,
        "small-1b-it": 544,
        "routed-8b": 96,
        "deep-4b": 200704,
    }
    assert "deep-4b (as published)" in run.output
    assert "instrument check" not in run.output
    assert "report: reports/made/report.html" in run.output


def test_nothing_is_computed_again_and_the_store_is_whole(workspace: Workspace) -> None:
    for file in (workspace.folder / "results").rglob("*.json"):
        file.touch()
    again = workspace.snakemake(*GIVEN)
    assert again.started == []
    workspace.maxact("verify")
    shown = workspace.maxact("show", "reports/made/tables/bootstrap.csv")
    assert "results/results" in shown
    assert "current    yes" in shown
    assert "published/published" in shown
    workspace.maxact("gc", "--delete", "--grace-days", "0")
    shutil.rmtree(workspace.folder / "reports" / "made")
    bars = workspace.snakemake(BARS, *GIVEN)
    assert bars.computed == []
    assert "deep-4b (as published)" in bars.output
    assert "report: " not in bars.output  # nothing has bound it anew


def test_a_change_reruns_what_shows_it_and_no_more(workspace: Workspace) -> None:
    workspace.study["figures"]["overrides"] = {"global_maxima": {"font_size": 7.0}}
    assert workspace.snakemake(*GIVEN).computed == ["figures/global_maxima"]
    (workspace.folder / "results").rename(workspace.folder / "elsewhere")
    moved = workspace.snakemake(BARS, "--config", "published_results=elsewhere")
    assert moved.started == []  # files are what they hold, wherever they are
    file = workspace.folder / SMALL.replace("results", "elsewhere")
    content = json.loads(file.read_text())
    content["per_layer_stats"]["layer_2_hidden"]["rms"] *= 1.000001
    file.write_text(json.dumps(content))
    changed = workspace.snakemake(BARS, "--config", "published_results=elsewhere")
    assert changed.computed == ["published/published", "results/results"]  # the bars do not show it


def test_bad_files_are_told_and_the_rest_is_built_with_the_gap_shown(workspace: Workspace) -> None:
    tree = workspace.folder / "results"
    (workspace.folder / SMALL).write_text((workspace.folder / SMALL).read_text()[:1000])
    deep = tree / "Deep" / "json" / "deep-4b_activation_stats.json"
    content = json.loads(deep.read_text())
    for name in [name for name in content["per_layer_stats"] if name.startswith("layer_2_")]:
        del content["per_layer_stats"][name]
    content["per_layer_stats"]["layer_0_hidden"]["max"] = float("nan")
    deep.write_text(json.dumps(content))
    shutil.copy(tree / "Routed/json/routed-8b_activation_stats.json", tree / "Small/json/copy_activation_stats.json")
    workspace.study["families"]["small-it"]["model_type"] = "llama"
    done = workspace.snakemake(BARS, "reports/made/figures/per_layer.png", *GIVEN)
    assert "not available: small-1b (Small/json/small-1b_activation_stats.json: not valid JSON" in done.output
    assert (
        "not available: small-1b-it (Small-it/json/small-1b-it_activation_stats.json: model_type: qwen2" in done.output
    )
    tables = workspace.folder / "reports" / "made" / "tables"
    problems = pd.read_csv(tables / "published_problems.csv").set_index("field")
    again = "a second file for routed-8b; left out, Routed/json/routed-8b_activation_stats.json is read"
    assert again in set(problems.what["model_name"])
    assert (problems.checkpoint[problems.file == SMALL.removeprefix("results/")] == "small-1b").all()
    assert problems.checkpoint[problems.file == "Small/json/copy_activation_stats.json"].isna().all()
    assert "missing: layer 2 of 4" in problems.what["per_layer_stats.layer_2"]
    assert problems.what["per_layer_stats.layer_0_hidden.max"] == "not finite (nan)"
    assert f"faults of the published files: {(problems.severity == 'error').sum()} errors, " in done.output
    maxima = pd.read_csv(tables / "global_maxima.csv").set_index("checkpoint")
    assert list(maxima.index) == ["small-1b", "small-7b", "small-1b-it", "routed-8b", "deep-4b"]
    assert list(maxima.index[maxima.kind == "not available"]) == ["small-1b", "small-1b-it"]
    assert maxima.weights["deep-4b"] == "as published, without 4 sites"
    verdicts = pd.read_csv(tables / "verdicts.csv").set_index("question").verdict
    assert verdicts["base_vs_instruct"].startswith("cannot be compared: 0 of 2 members")


def test_without_a_source_one_line_says_what_to_do(workspace: Workspace) -> None:
    done = workspace.snakemake(BARS, check=False)
    assert done.returncode != 0
    assert "error: 1 source is not pinned to a commit and digests; run `maxact pin study.yaml`" in done.output
    assert "Traceback" not in done.output
    misspelt = workspace.snakemake("reports/made/figures/global_maximum.pdf", *GIVEN, check=False)
    assert "error: reports/made/figures/global_maximum.pdf: no target; did you mean 'global_maxima'?" in misspelt.output
    assert "MissingRule" not in misspelt.output
    absent = workspace.snakemake(BARS, "--config", "published_results=nowhere", check=False)
    assert "error: nowhere: no such folder; give the folder of the authors' result files" in absent.output
    assert "Traceback" not in absent.output


def test_an_archive_of_a_folder_of_result_files_needs_no_such_folder(workspace: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(workspace.folder / "results")
    archive = tmp_path / "made.zip"
    workspace.maxact("export", "study.yaml", "--out", str(archive), "--figure", "global_maxima")
    shutil.rmtree(workspace.folder / "artifacts")
    shutil.rmtree(workspace.folder / "reports" / "made")
    told = workspace.maxact("import", str(archive))
    command = told.splitlines()[-1].removeprefix("go on with: .venv/bin/snakemake ").split()
    assert command == ["--cores", "1", BARS, "--configfile", "artifacts/made/imported-study.yaml"]
    run = workspace.snakemake(*command)
    assert (run.computed, run.started) == ([], ["figure_global_maxima"])
    beyond = workspace.snakemake("reports/made/figures/per_layer.pdf", *command[3:], check=False)
    assert "error: artifacts/made: came out of an archive that has not what " in beyond.output
    assert beyond.started == []
    other = workspace.snakemake(
        BARS, "--config", f"published_results={written(tmp_path / 'other', made(MODELS[:4]))}", check=False
    )
    assert "would compute published/published anew" in other.output
    assert ", with --configfile artifacts/made/imported-study.yaml, or delete " in other.output


def test_the_repository_gives_what_a_folder_with_the_same_files_gives(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(Hub()) as hub:
        files = {f"results/{path}": f"{json.dumps(content)}\n".encode() for path, content in made().items()}
        workspace.study["published"]["commit"] = hub.repository("someone/results").commit(files)
        monkeypatch.setenv("MAXACT_GITHUB_RAW", f"{hub.address}/raw")
        monkeypatch.setenv("MAXACT_GITHUB_API", f"{hub.address}/api")
        monkeypatch.setenv("HF_ENDPOINT", hub.address)  # or the harness works offline
        workspace.maxact("pin", "study.yaml")
        done = workspace.snakemake(BARS)
        assert done.computed == ["published/published"]
        assert hub.sent > 100_000
    monkeypatch.setenv("MAXACT_PUBLISHED", str(workspace.folder / "results"))
    assert workspace.snakemake(BARS).computed == []


@pytest.mark.slow
def test_the_study_of_the_authors_files_is_built_and_goes_on_in_an_archive(
    authors_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((REPOSITORY / "studies" / "published.yaml").read_text(encoding="utf-8"))
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (Workspace(checkout(tmp_path / name), config) for name in ("here", "there"))
    monkeypatch.setenv("MAXACT_PUBLISHED", str(authors_results))
    here.snakemake()
    reports = here.folder / "reports" / "published"
    figures = made_of(FIGURES, PUBLISHED | set(config["comparisons"]))
    assert {file.stem for file in (reports / "figures").iterdir()} == set(figures)
    assert {file.stem for file in (reports / "tables").iterdir()} == set(made_of(TABLES, PUBLISHED))
    maxima = pd.read_csv(reports / "tables" / "global_maxima.csv")
    assert list(maxima.checkpoint) == [checkpoint["name"] for checkpoint in config["checkpoints"]]
    assert maxima.M.notna().all()
    assert here.snakemake().started == []
    monkeypatch.delenv("MAXACT_PUBLISHED")
    here.maxact("export", "study.yaml", "--out", str(tmp_path / "published.zip"))
    command = there.maxact("import", str(tmp_path / "published.zip")).splitlines()[-1]
    assert there.snakemake(*command.removeprefix("go on with: .venv/bin/snakemake ").split()).computed == []
    figure = Path("reports/published/figures/global_maxima.pdf")
    assert (there.folder / figure).exists()
