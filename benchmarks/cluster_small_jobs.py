"""How small jobs are best run on a cluster: alone or in groups, and figures as jobs of it or where Snakemake runs.

PYTHONPATH=tests python benchmarks/cluster_small_jobs.py [JOBS]

Starts the SLURM of the tests on this machine, and makes the small study of the tests with JOBS planted checkpoints (8) without
it, up to its tables. Then, with profiles/slurm, each from the start to the end of Snakemake, less what it takes to find nothing
to do: `quantize` of all of them with one more policy, as jobs of their own; the same with another policy, as one group; JOBS
figures in another size of letters where Snakemake runs, as many at once as the profile allows; in a third size as jobs of the
cluster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from slurm.cluster import Cluster
from slurm.submitted import plugin
from workflow.harness import Workspace, checkout, small_study

from maxact.figures.registry import FIGURES
from maxact.results.registry import made_of
from maxact.study import validate_study

OF_OTHERS = ("comparisons", "evaluate", "perplexity", "paper_check")
"""Sections of the small study that name checkpoints which are not in this one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("jobs", type=int, nargs="?", default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="small-jobs-") as scratch, Cluster() as cluster:
        folder = Path(scratch, "checkout")
        folder.mkdir()
        workspace = Workspace(checkout(folder), study(given.jobs))
        workspace.snakemake("artifacts/small/results/results.json")
        for what, seconds in measured(cluster, workspace, given.jobs).items():
            print(f"{what:<50}{seconds:6.1f} s")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def study(jobs: int) -> dict[str, Any]:
    """The small study of the tests with so many planted checkpoints, and the real one, whose tokenizer the corpus needs."""
    found = small_study()
    like = next(item for item in found["checkpoints"] if item["name"] == "planted-qwen2")
    found["checkpoints"] = [item for item in found["checkpoints"] if item["source"]["kind"] != "planted"]
    for number in range(jobs):
        found["checkpoints"].append({**like, "name": f"p{number}", "source": {**like["source"], "seed": 100 + number}})
    return {section: value for section, value in found.items() if section not in OF_OTHERS}


def measured(cluster: Cluster, workspace: Workspace, jobs: int) -> dict[str, float]:
    """Seconds of each case, by its name."""
    quantize = [f"artifacts/small/quantize/p{number}.json" for number in range(jobs)]
    names = list(made_of(FIGURES, validate_study(workspace.study, [Path("study.yaml")]).provides))[:jobs]
    figures = [f"reports/small/figures/{name}.pdf" for name in names]
    idle = min(submit(cluster, workspace, quantize) for _ in range(2))
    policies, found = workspace.study["quantize"]["policies"], {}
    policies.append("quantile_0.9")
    found[f"{jobs} jobs of quantize, alone"] = submit(cluster, workspace, quantize) - idle
    policies[-1] = "quantile_0.8"
    together = ["--groups", "quantize=quantize", "--group-components", f"quantize={jobs}"]
    found[f"{jobs} jobs of quantize, as one group"] = submit(cluster, workspace, quantize, together) - idle
    workspace.snakemake("artifacts/small/results/results.json")
    letters(workspace, names, 9.5)
    found[f"{len(names)} figures where Snakemake runs"] = submit(cluster, workspace, figures) - idle
    letters(workspace, names, 8.5)
    rules = workspace.folder / "rules" / "results.smk"
    text = rules.read_text(encoding="utf-8")
    assert "localrule: True" in text
    rules.write_text(text.replace("localrule: True", "localrule: False"), encoding="utf-8")
    found[f"{len(names)} figures as jobs of the cluster"] = submit(cluster, workspace, figures) - idle
    return found


def letters(workspace: Workspace, figures: list[str], points: float) -> None:
    """Have the study ask for figures with letters of that size."""
    workspace.study["figures"]["overrides"] = {name: {"font_size": points} for name in figures}


def submit(cluster: Cluster, workspace: Workspace, targets: list[str], options: list[str] | None = None) -> float:
    """Seconds that Snakemake takes for the targets, with the profile of the documentation."""
    workspace.write()
    paths = [str(workspace.folder / "workflow_scripts"), str(plugin())]
    environment = os.environ | cluster.environment | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    # Targets come first: options with several values would take them for theirs.
    command = [sys.executable, "-m", "snakemake", *targets, "--profile", "profiles/slurm", "--configfile", "study.yaml"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, *(options or [])], cwd=workspace.folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout[-4000:])
    return seconds


if __name__ == "__main__":
    main()
