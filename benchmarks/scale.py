"""How long Snakemake thinks about a large study: nothing made yet, all made, one checkpoint changed.

python benchmarks/scale.py [CHECKPOINTS ...]

The study is `config.yaml` with its checkpoints repeated under other names. Nothing is computed: where results are to be there,
empty files stand in for them, since Snakemake looks at no more than their times. Prints a row for each number of checkpoints
and each case: jobs, seconds, seconds of CPU, peak memory of the process in MiB.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from maxact.figures.registry import FIGURES
from maxact.recipes import jobs, write_stamps
from maxact.results.registry import SUFFIXES, TABLES
from maxact.study import load_study

REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=int, nargs="*", default=[27, 270, 2700])
    for number in parser.parse_args().checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            for case, told in cases(number, Path(folder)):
                print(f"{number:>6}  {case:<24}  {told}", flush=True)


def cases(number: int, folder: Path) -> list[tuple[str, str]]:
    """What Snakemake takes in each case, in order."""
    study = repeated(number)
    write(study, folder)
    told = [("dry run, nothing made", dry_run(folder))]
    stand_in(folder)
    told.append(("no-op", dry_run(folder)))
    time.sleep(0.05)  # so that what changes now is newer
    study["checkpoints"][number // 2]["perplexity_ceiling"] += 1.0
    write(study, folder)
    told.append(("one checkpoint changed", dry_run(folder)))
    return told


def repeated(number: int) -> dict[str, Any]:
    """The paper's study with so many checkpoints."""
    study: dict[str, Any] = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    originals = study["checkpoints"]
    study["checkpoints"] = []
    for index in range(number):
        checkpoint = copy.deepcopy(originals[index % len(originals)])
        checkpoint["name"] += f"-{index // len(originals)}" * (index >= len(originals))
        study["checkpoints"].append(checkpoint)
    study["study"] = "scale"
    return study


def write(study: dict[str, Any], folder: Path) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


def stand_in(folder: Path) -> None:
    """Lay an empty file where each result is to be."""
    study = load_study(folder / "study.yaml")
    artifacts, reports = folder / "artifacts" / study.study, folder / "reports" / study.study
    write_stamps(study, artifacts / "keys", REPOSITORY / "envs")
    files = [artifacts / job.stage / f"{job.name}.json" for job in jobs(study)]
    files += [reports / "tables" / f"{name}.{suffix}" for name in TABLES for suffix in SUFFIXES]
    files += [reports / "figures" / f"{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")]
    now = time.time()  # one for all, as in a run each is newer than what it was made from
    for file in [*files, reports / "report.html"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (now, now))


def dry_run(folder: Path) -> str:
    """Jobs, seconds, seconds of CPU and peak MiB of `snakemake -n`."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--configfile", "study.yaml", "--dry-run", "--quiet", "rules", "--cores", "2"]
    started = time.perf_counter()
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        log.seek(0)
        output = log.read()
    if process.returncode:
        raise SystemExit(output[-2000:])
    total = re.search(r"^total +(\d+)", output, re.MULTILINE)
    found = int(total[1]) if total else 0
    processor = used.ru_utime + used.ru_stime
    return f"{found:>6} jobs  {seconds:6.1f} s  {processor:6.1f} s of CPU  {used.ru_maxrss / 1024:7.0f} MiB"


if __name__ == "__main__":
    main()
