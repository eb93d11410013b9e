"""What a job costs on a cluster beside its work and the queue: on its node, and from its end until Snakemake knows.

PYTHONPATH=tests python benchmarks/cluster_overhead.py [JOBS] [-- OPTIONS OF SNAKEMAKE ...]

Starts the SLURM of the tests on this machine and submits, one after the other, the weights of planted checkpoints of a study of
27 with profiles/slurm, from a copy of this checkout in which `snakemake --configfile studies/pocket.yaml` was run (corpus and
tokenizers are taken from it). Prints for each job the seconds on its node beside the stage's own (two starts of Snakemake, each
of which reads the workflow), those of the stage, and those from SLURM's end to Snakemake's line that it has finished. SLURM's
times are whole seconds, so that a mean is good to half of one.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from slurm.cluster import Cluster
from slurm.submitted import plugin
from workflow.harness import REPOSITORY, checkout

CHECKPOINTS = 27


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("jobs", type=int, nargs="?", default=5)
    parser.add_argument("options", nargs="*", help="of Snakemake")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch, Cluster() as cluster:
        folder = Path(scratch, "checkout")
        folder.mkdir()
        checkout(folder)
        shutil.copytree(REPOSITORY / "artifacts", folder / "artifacts", copy_function=os.link)
        # The study takes the place of the one whose artifacts these are.
        (folder / "artifacts" / "pocket" / "study.path").unlink(missing_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False), encoding="utf-8")
        rows = run(cluster, folder, given.jobs, given.options)
    for name, row in rows.items():
        print(f"{name:<12}" + "".join(f"{row[part]:8.1f}" for part in ("node", "work", "notice")))
    node, notice = (statistics.mean(row[part] for row in rows.values()) for part in ("node", "notice"))
    print(f"mean: {node:.1f} s on the node, {notice:.1f} s until Snakemake sees the end, {node + notice:.1f} s in all; "
          f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip


def study() -> dict[str, Any]:
    """The pocket study with planted checkpoints up to 27."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "studies" / "pocket.yaml").read_text(encoding="utf-8"))
    like = next(item for item in found["checkpoints"] if item["name"] == "planted-qwen2")
    for number in range(CHECKPOINTS - len(found["checkpoints"])):
        new = copy.deepcopy(like)
        new["name"], new["source"]["seed"] = f"more-{number}", 1000 + number
        found["checkpoints"].append(new)
    return found


def run(cluster: Cluster, folder: Path, jobs: int, options: list[str]) -> dict[str, dict[str, float]]:
    """Submit the jobs one at a time; their parts in seconds, by name."""
    names = [f"more-{number}" for number in range(jobs)]
    paths = [str(folder / "workflow_scripts"), str(plugin())]
    environment = os.environ | cluster.environment | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", "study.yaml"]
    command += ["--jobs", "1", *options, *(f"artifacts/pocket/checkpoint/{name}.json" for name in names)]
    rows: dict[str, dict[str, float]] = {}
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output, seen = [], []
        for line in process.stdout:
            output.append(line)
            if line.startswith("Finished job"):
                seen.append(time.time())
    if process.returncode:
        raise SystemExit("".join(output[-40:]))
    work = {}
    for line in (folder / "artifacts" / "journal.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["name"] in names:
            work[entry["name"]] = entry["seconds"]
    submitted = cluster.run("scontrol", "-o", "show", "job").splitlines()
    for text, finished in zip(submitted, seen, strict=True):
        shown = dict(field.split("=", 1) for field in text.split() if "=" in field)
        started, ended = (
            time.mktime(time.strptime(shown[key], "%Y-%m-%dT%H:%M:%S")) for key in ("StartTime", "EndTime")
        )
        name = Path(shown["StdOut"]).parent.name
        seconds = work[name]
        rows[name] = {"node": ended - started - seconds, "work": seconds, "notice": finished - ended}
    return rows


if __name__ == "__main__":
    main()
