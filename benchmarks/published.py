"""How long the authors' result files take, from reading to the report, and one figure out of an archive of them.

python benchmarks/published.py FOLDER

FOLDER is that of the result files. Everything is made in a temporary folder with two cores. Prints a row for each step: seconds,
and seconds of CPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from maxact.published.files import read_tree

REPOSITORY = Path(__file__).parents[1]
FIGURE = "reports/published/figures/global_maxima.pdf"


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    results = parser.parse_args().folder.resolve()
    begun = time.perf_counter(), time.process_time()
    read_tree(results)
    told("reading the files", time.perf_counter() - begun[0], time.process_time() - begun[1])
    with tempfile.TemporaryDirectory() as folder:
        for step, wall, processor in steps(Path(folder), results):
            told(step, wall, processor)


def steps(folder: Path, results: Path) -> Iterator[tuple[str, float, float]]:
    """What each step of a reviewer takes, in order."""
    here, there = folder / "here", folder / "there"
    for place in (here, there):
        place.mkdir()
        shutil.copytree(REPOSITORY / "studies", place / "studies")  # as in a clone
    study, imported = "studies/published.yaml", "artifacts/published/imported-published.yaml"
    snakemake = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2", "--configfile"]
    given = ["--config", f"published_results={results}"]
    yield "one figure from the files", *timed([*snakemake, study, *given, "--", FIGURE], here)
    yield "all the rest", *timed([*snakemake, study, *given], here)
    archive = str(folder / "archive.zip")
    yield "export", *timed(["maxact", "export", "--out", archive, study], here)
    yield "import", *timed(["maxact", "import", archive], there)
    yield "one figure from the archive", *timed([*snakemake, imported, "--", FIGURE], there)


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and seconds of CPU of a command of this environment."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=folder, check=True, capture_output=True
    )
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, processor


def told(step: str, wall: float, processor: float) -> None:
    print(f"{step:<28}{wall:>7.1f} s{processor:>8.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
