"""Snakemake with profiles/slurm on the test's own cluster, and what its jobs tell of themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.harness import REPOSITORY, Workspace

from slurm.cluster import Cluster

ON_STAND_IN = '''

def _stand_in(name: str) -> str:
    """In place of a GPU: tell what SLURM gave this job, hold it a while, then compute on the CPU."""
    import json
    import os
    import time
    from pathlib import Path

    job, started = os.environ.get("SLURM_JOB_ID"), time.time()
    told = {"name": name, "started": started, "devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "job": job}
    told["node"] = os.environ.get("SLURMD_NODENAME")
    mark = Path(os.environ["MARKS"], f"{name}-{job}")
    mark.with_suffix(".begun").write_text(json.dumps(told))
    limit = started + float(os.environ.get("HOLD", "1"))
    memory = bytearray(int(os.environ.get("GROW", "0")) * 10**6)
    for place in range(0, len(memory), 4096):
        memory[place] = 1
    while time.time() < limit:
        time.sleep(0.1)
    mark.with_suffix(".json").write_text(json.dumps(told | {"ended": time.time()}))
    return "cpu"
'''

PARSED = """

with open("parsed.txt", "a", encoding="utf-8") as stream:
    print(workflow.is_main_process, bool(os.environ.get("SLURM_JOB_ID")), file=stream)
"""


def plugin() -> Path | None:
    """The folder that the executor is imported from: `make test` puts it apart from the packages of the study."""
    apart = REPOSITORY / ".venv" / "slurm"
    if apart.exists():
        return apart
    found = importlib.util.find_spec("snakemake_executor_plugin_slurm")
    return Path(str(found.origin)).parents[1] if found else None


@dataclass
class Submitted:
    """A checkout whose study is run on a cluster.

    Attributes:
        stand_ins: measure on stand-in GPUs; else what is measured already is not measured again.
    """

    cluster: Cluster
    workspace: Workspace
    stand_ins: bool = True

    def __post_init__(self) -> None:
        folder = self.workspace.folder
        self.marks = folder.parent / "marks"
        self.marks.mkdir()
        if self.stand_ins:
            self._use_stand_ins(folder)

    def _use_stand_ins(self, folder: Path) -> None:
        self.like = next(item for item in self.workspace.study["checkpoints"] if item["name"] == "planted-qwen2")
        self.workspace.study["measure"] |= {"device": "cuda", "threads": 1}
        file = folder / "workflow_scripts/maxact/measure/prepare.py"
        text = file.read_text(encoding="utf-8")
        assert 'parameters.get("device", "cpu")' in text
        file.write_text(text.replace('parameters.get("device", "cpu")', "_stand_in(job.name)") + ON_STAND_IN)
        opening = folder / "workflow_scripts/maxact/checkpoints/load.py"
        text = opening.read_text(encoding="utf-8")
        assert "devices = _devices(device)" in text
        opening.write_text(text.replace("devices = _devices(device)", 'device, devices = "cpu", ["cpu"]'))
        common = folder / "rules/common.smk"
        common.write_text("import os\n" + common.read_text(encoding="utf-8") + PARSED, encoding="utf-8")

    def planted(self, *names: str, **fields: Any) -> None:
        """Checkpoints like planted-qwen2, each with a seed of its own, in its place."""
        study = self.workspace.study
        others = [item for item in study["checkpoints"] if item["source"]["kind"] != "planted"]
        new = [
            {**self.like, **fields, "name": name, "source": {**self.like["source"], "seed": 100 + n}}
            for n, name in enumerate(names)
        ]
        study["checkpoints"] = [*others, *new]
        for section in ("comparisons", "evaluate", "perplexity", "paper_check", "sensitivity"):
            study.pop(section, None)  # name checkpoints that are gone

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start Snakemake with the profile of the documentation, on this cluster's partition."""
        self.workspace.write()
        paths = [str(self.workspace.folder / "workflow_scripts"), str(plugin())]
        given = os.environ | self.cluster.environment | {"PYTHONPATH": os.pathsep.join(paths), "MARKS": str(self.marks)}
        given |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | environment
        options = ["--profile", "profiles/slurm", "--configfile", "study.yaml", "--latency-wait", "10"]
        options += ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *options, *arguments],
            cwd=self.workspace.folder, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """What Snakemake prints, run to its end."""
        with self.start(*arguments, **environment) as process:
            output, _ = process.communicate()
        assert not check or process.returncode == 0, output
        return output

    def begun(self) -> list[dict[str, Any]]:
        """What every job that took a device told when it began."""
        return [json.loads(file.read_text()) for file in sorted(self.marks.glob("*.begun"))]

    def held(self) -> list[dict[str, Any]]:
        """The same of those that came to the end of their time with it."""
        return [json.loads(file.read_text()) for file in sorted(self.marks.glob("*.json"))]

    def parsed(self) -> set[tuple[bool, bool]]:
        """How the workflow was read: as the main process, and in a job of SLURM."""
        lines = (self.workspace.folder / "parsed.txt").read_text().splitlines()
        return {(line.split()[0] == "True", line.split()[1] == "True") for line in lines}


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true answer."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if answer := what():
            return answer
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def overlapping(held: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of jobs that had one device at one time."""
    return [
        (first["name"], second["name"])
        for number, first in enumerate(held)
        for second in held[:number]
        if set(first["devices"].split(",")) & set(second["devices"].split(","))
        and first["started"] < second["ended"]
        and second["started"] < first["ended"]
    ]
