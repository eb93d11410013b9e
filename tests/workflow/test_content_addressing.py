"""What is computed again, and what is not: the real Snakemake, counted by action records and forward passes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from workflow.harness import EVALUATED, PROBED, Run, Workspace

from maxact.stages import STAGES
from maxact.store.objects import Manifest, Store
from maxact.store.verify import faults

OF_RULES = set(STAGES) - {
    "probe",
    "replay",
    "shard",
    "variant",
    "sensitivity",
    "published",
    "audit",
}  # which other commands and targets run

NOTHING: list[str] = []
MEMBERS = 3
REAL = "SmolLM2-135M-Instruct"


def assert_nothing_computed(run: Run) -> None:
    assert run.computed == NOTHING
    assert run.actions == set()
    assert run.forward_passes == 0


def stages(run: Run) -> set[str]:
    return {line.partition("/")[0] for line in run.computed}


def test_the_first_run_computes_every_stage(finished: tuple[Workspace, Run]) -> None:
    """The positive control of all the others: the counters do count."""
    workspace, run = finished
    samples = workspace.study["corpus"]["samples"]
    assert stages(run) == OF_RULES
    assert len(run.actions) == len(run.computed) == len(set(run.computed))
    assert run.forward_passes >= MEMBERS * samples


def test_a_second_run_starts_nothing(workspace: Workspace) -> None:
    run = workspace.snakemake()
    assert_nothing_computed(run)
    assert run.started == []
    assert "Nothing to be done" in run.output


def test_touching_every_file_recomputes_nothing(workspace: Workspace) -> None:
    for path in sorted(workspace.folder.rglob("*")):
        if path.is_file():
            os.utime(path)
    assert_nothing_computed(workspace.snakemake())


def test_a_hit_in_the_store_imports_neither_torch_nor_transformers(workspace: Workspace, tmp_path: Path) -> None:
    """All manifests are gone, so every job runs, and every one is in the store."""
    for stage in OF_RULES:
        shutil.rmtree(workspace.folder / "artifacts" / "small" / stage)
    shutil.rmtree(workspace.folder / "reports" / "small")
    for name in ("torch", "transformers", "numba"):
        (workspace.folder / "workflow_scripts" / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    run = workspace.snakemake()
    assert_nothing_computed(run)
    assert {"weights", "corpus", "tokens", "loading_check", "measure", "quantize", "results"} <= set(run.started)
    assert (workspace.folder / "reports/small/report.html").exists()


def test_a_figures_style_redraws_that_figure_only(workspace: Workspace) -> None:
    other = workspace.folder / "reports/small/figures/per_layer.png"
    before = other.read_bytes()
    workspace.study["figures"]["overrides"] = {"global_maxima": {"font_size": 11.0}}
    run = workspace.snakemake()
    assert run.computed == ["figures/global_maxima"]
    assert run.forward_passes == 0
    assert other.read_bytes() == before
    assert "study_report" in run.started


def test_bits_recompute_quantization_and_what_shows_it_and_back_again_nothing(workspace: Workspace) -> None:
    table = workspace.folder / "reports/small/tables/int8.csv"
    before, formats = table.read_bytes(), workspace.study["quantize"]["formats"]
    workspace.study["quantize"]["formats"] = ["int6"]
    run = workspace.snakemake()
    assert stages(run) == {"quantize", "results", "figures"}
    assert [line for line in run.computed if line.startswith("quantize/")] == [
        f"quantize/{checkpoint['name']}"
        for checkpoint in sorted(workspace.study["checkpoints"], key=lambda c: c["name"])
    ]
    kinds = ("kv_cache", "linear_inputs", "residual")
    shown = ["clipping_curve", *(f"error_by_site_{kind}" for kind in kinds), "error_vs_M"]
    shown += [*(f"granularity_heatmap_{kind}" for kind in kinds), "int8_vs_M", "perplexity_cost"]
    assert [line for line in run.computed if line.startswith("figures/")] == [f"figures/{name}" for name in shown]
    assert run.forward_passes == 0
    assert table.read_bytes() != before
    workspace.study["quantize"]["formats"] = formats
    assert_nothing_computed(workspace.snakemake())
    assert table.read_bytes() == before


def test_targets_of_sqnr_recompute_quantization_and_the_tables_alone(workspace: Workspace) -> None:
    table = workspace.folder / "reports/small/tables/bits_needed.csv"
    before = table.read_text()
    workspace.study["quantize"]["sqnr_targets"] = [10]
    run = workspace.snakemake()
    assert stages(run) == {"quantize", "results"}
    assert run.forward_passes == 0
    assert table.read_text() != before


def test_quantizers_recompute_perplexity_and_what_shows_it(workspace: Workspace) -> None:
    workspace.study["perplexity"]["quantizers"] = [{"format": "float16"}]
    run = workspace.snakemake()
    assert run.computed == ["figures/perplexity_cost", f"perplexity/{REAL}", "results/results"]
    assert run.forward_passes == 2 * workspace.study["tokens"]["splits"]["evaluation"]


def test_granularities_recompute_evaluation_and_what_shows_it(workspace: Workspace) -> None:
    """One pass over the evaluation split, and over the samples of SmoothQuant; weights that are not kept are made again for it,
    and go again."""
    workspace.study["keep_weights"] = False
    assert_nothing_computed(workspace.snakemake())
    table = workspace.folder / "reports/small/tables/granularities.csv"
    before = table.read_bytes()
    workspace.study["evaluate"]["granularities"] = ["token", "group_32"]
    run = workspace.snakemake()
    assert stages(run) == {"evaluate", "results", "figures"}
    assert [line for line in run.computed if line.startswith("evaluate/")] == sorted(f"evaluate/{n}" for n in EVALUATED)
    drawn = [line for line in run.computed if line.startswith("figures/")]
    kinds = ("kv_cache", "linear_inputs", "residual")
    assert drawn == ["figures/error_vs_M", *(f"figures/granularity_heatmap_{kind}" for kind in kinds)]
    passed = workspace.study["tokens"]["splits"]["evaluation"] + workspace.study["evaluate"]["smooth"]["samples"]
    assert run.forward_passes == len(EVALUATED) * passed
    assert table.read_bytes() != before
    store = Store(workspace.folder / "artifacts")
    for name in EVALUATED:
        manifest = Manifest.read(workspace.folder / f"artifacts/small/checkpoint/{name}.json")
        assert not store.path(manifest.objects["model.safetensors"]).exists()
    assert list(faults(store)) == []


def test_a_corpus_rebuilt_to_the_same_content_recomputes_nothing_below(workspace: Workspace) -> None:
    proportions = workspace.study["corpus"]["proportions"]
    workspace.study["corpus"]["proportions"] = {domain: 2 * weight for domain, weight in proportions.items()}
    run = workspace.snakemake()
    assert run.computed == ["corpus/corpus"]
    assert run.forward_passes == 0


def test_a_further_checkpoint_measures_only_itself(workspace: Workspace) -> None:
    planted = next(item for item in workspace.study["checkpoints"] if item["source"]["kind"] == "planted")
    further = planted | {"name": "further", "source": planted["source"] | {"seed": 99}}
    workspace.study["checkpoints"].append(further)
    run = workspace.snakemake()
    below = {"checkpoint/further", "measure/further", "quantize/further", "results/results"}
    assert {line for line in run.computed if not line.startswith("figures/")} == below
    assert run.forward_passes == workspace.study["corpus"]["samples"] + PROBED


def test_losing_snakemakes_metadata_recomputes_nothing_and_leaves_nothing_stale(workspace: Workspace) -> None:
    shutil.rmtree(workspace.folder / ".snakemake")
    assert_nothing_computed(workspace.snakemake())
    shutil.rmtree(workspace.folder / ".snakemake")
    workspace.study["figures"]["overrides"] = {"global_maxima": {"font_size": 11.0}}
    assert workspace.snakemake().computed == ["figures/global_maxima"]


def test_swapping_the_values_of_two_parameters_is_noticed(workspace: Workspace) -> None:
    splits = workspace.study["tokens"]["splits"]
    assert splits["calibration"] != splits["evaluation"]
    workspace.study["tokens"]["splits"] = {"calibration": splits["evaluation"], "evaluation": splits["calibration"]}
    run = workspace.snakemake()
    assert {"tokens", "measure", "quantize"} <= stages(run)
    assert f"measure/{REAL}" in run.computed


def test_a_comment_recomputes_nothing_and_a_meaning_remeasures(workspace: Workspace, edit) -> None:
    file = "workflow_scripts/maxact/measure/stage.py"
    text = (workspace.folder / file).read_text(encoding="utf-8")
    (workspace.folder / file).write_text("# A comment.\n" + text + "\n\n", encoding="utf-8")
    run = workspace.snakemake()
    assert_nothing_computed(run)
    assert run.started == []
    (workspace.folder / file).write_text(text + "\nUNUSED = 1\n", encoding="utf-8")
    run = workspace.snakemake()
    assert stages(run) == {"measure"}  # the same content again, so nothing below
    assert run.forward_passes == MEMBERS * (workspace.study["corpus"]["samples"] + PROBED)


def test_a_reviewer_draws_one_figure_without_weights_and_corpus(workspace: Workspace, tmp_path: Path) -> None:
    """A copy of the checkout and artifacts, without the objects of checkpoints, corpus and tokens, and no metadata."""
    for stage in ("checkpoint", "corpus", "tokens"):
        for file in (workspace.folder / "artifacts" / "small" / stage).glob("*.json"):
            for item in json.loads(file.read_text())["objects"].values():
                name = item["sha256"] + item["suffix"]
                (workspace.folder / "artifacts/objects" / name[:2] / name).unlink(missing_ok=True)
    shutil.rmtree(workspace.folder / ".snakemake")
    shutil.rmtree(workspace.folder / "reports" / "small")
    figure = "reports/small/figures/global_maxima.pdf"
    run = workspace.snakemake(figure)
    assert_nothing_computed(run)
    assert run.started == ["figure_global_maxima"]
    assert (workspace.folder / figure).read_bytes().startswith(b"%PDF")
    workspace.study["figures"]["overrides"] = {"global_maxima": {"font_size": 11.0}}
    assert workspace.snakemake(figure).computed == ["figures/global_maxima"]
