"""What a fresh machine is told to install, and where: the locks, the conda file, the README's commands, the set-up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maxact.figures.registry import FIGURES
from maxact.results.registry import TABLES

REPOSITORY = Path(__file__).parents[1]
ENVS = REPOSITORY / "envs"
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[0-9][A-Za-z0-9.!]*)(?: ; (?P<marker>.+?))?(?= +--hash|$)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
FOREIGN = re.compile(
    r"(?<![\w.])/(?:tmp|work|root|home|opt|Users|mnt)/|--(?:extra-)?index-url|--find-links|--trusted-host|pythonhosted|pypi\.|localhost"
)
"""Paths of one machine, and where one machine gets its packages from."""
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / ".ci" / "run"]


def requirements(file: Path) -> list[str]:
    """Each requirement of a pip file on one line, its hashes included; comments and blank lines left out."""
    joined = file.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pins(file: Path) -> dict[tuple[str, str], str]:
    """Version by name and marker."""
    found: dict[tuple[str, str], str] = {}
    for line in requirements(file):
        pin = PIN.match(line)
        assert pin, f"{file.name}: {line[:80]!r} is not name==version"
        found[canonicalize_name(pin["name"]), (pin["marker"] or "").strip()] = pin["version"]
    return found


def version_here(file: Path, name: str) -> str | None:
    """The version that the file pins for this machine's interpreter."""
    for (pinned, marker), version in pins(file).items():
        if pinned == canonicalize_name(name) and (not marker or Marker(marker).evaluate()):
            return version
    return None


def tracked() -> list[Path]:
    """Every file of the checkout that Git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def make_environments() -> ModuleType:
    """The script that writes the files of conda and Apptainer; it lies outside the library."""
    specification = importlib.util.spec_from_file_location("make_environments", ENVS / "make_environments.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", ["cpu.txt", "s3.txt", "dev.txt", "gpu.txt", "ling.txt", "slurm.txt", "torchao.txt"])
def test_a_lock_pins_every_package_exactly_and_with_hashes(lock: str) -> None:
    lines = requirements(ENVS / lock)
    assert lines
    for line in lines:
        pin = PIN.match(line)
        assert pin, line[:80]
        rest = line[pin.end() :].split()
        assert rest, f"{pin['name']}: no hash"
        assert all(HASH.fullmatch(word) for word in rest), f"{pin['name']}: {rest}"


def test_torch_is_apart_exact_and_without_hashes() -> None:
    (line,) = requirements(ENVS / "torch.txt")
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", line)
    locks = ("cpu.txt", "dev.txt", "ling.txt")
    assert not any(name == "torch" for lock in locks for name, _ in pins(ENVS / lock))


@pytest.mark.parametrize("run_time", ["cpu.txt", "ling.txt"])
def test_what_torch_needs_is_locked(run_time: str) -> None:
    needs = importlib.metadata.requires("torch") or []
    assert needs
    for text in needs:
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        # Of the CUDA build alone; it is not installed where tests run without a GPU.
        lock = "gpu.txt" if needed.name.startswith(("nvidia", "cuda", "triton")) else run_time
        version = version_here(ENVS / lock, needed.name)
        assert version, f"{needed.name} is not in {lock}"
        assert needed.specifier.contains(version), f"{lock} has {needed.name} {version}, torch wants {needed.specifier}"


def test_the_cuda_lock_has_nothing_of_the_others() -> None:
    """So that keys, which have the versions of all locks, are the same with and without it; torch is in torch.txt alone."""
    here = pins(ENVS / "gpu.txt")
    assert here
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name, _ in here)
    others = pins(ENVS / "cpu.txt") | pins(ENVS / "dev.txt") | pins(ENVS / "torch.txt")
    assert not {name for name, _ in here} & {name for name, _ in others}


def test_make_gpu_installs_the_lock_then_the_build_of_torch_without_a_local_tag(bare: Path) -> None:
    shutil.copy(ENVS / "torch.txt", bare / "envs")
    (line,) = requirements(ENVS / "torch.txt")
    shown = make(bare, "--dry-run", "gpu", f"PYTHON={sys.executable}").stdout
    lock, torch = shown.index("--requirement envs/gpu.txt"), shown.index("torch===")
    assert shown.index("--requirement envs/torch.txt") < lock < torch
    (command,) = [line for line in shown.splitlines() if "sed -n" in line]
    asked = subprocess.run(
        ["sh", "-c", re.search(r'\$\((sed .+?)\)"', command)[1]],  # type: ignore[index]
        cwd=bare,
        capture_output=True,
        text=True,
    )
    assert asked.stdout.strip() == line.replace("==", "===")


@pytest.mark.parametrize("further", ["s3.txt", "dev.txt"])
def test_further_locks_pin_no_other_version_than_cpu(further: str) -> None:
    run_time, pinned = pins(ENVS / "cpu.txt"), pins(ENVS / further)
    shared = run_time.keys() & pinned.keys()
    assert {key: pinned[key] for key in shared} == {key: run_time[key] for key in shared}


def test_ling_measures_with_the_versions_of_the_study_but_for_transformers() -> None:
    study, ling = pins(ENVS / "cpu.txt"), pins(ENVS / "ling.txt")
    other = {name for name, marker in ling.keys() & study.keys() if ling[name, marker] != study[name, marker]}
    assert other == {"transformers", "tokenizers", "huggingface-hub"}
    assert version_here(ENVS / "ling.txt", "transformers") == "4.57.6"


@pytest.mark.parametrize(
    ("source", "lock"),
    [
        ("cpu.in", "cpu.txt"),
        ("s3.in", "s3.txt"),
        ("dev.in", "dev.txt"),
        ("gpu.in", "gpu.txt"),
        ("ling.in", "ling.txt"),
        ("slurm.in", "slurm.txt"),
        ("torchao.in", "torchao.txt"),
    ],
)
def test_a_lock_has_all_that_its_source_asks_for(source: str, lock: str) -> None:
    for line in requirements(ENVS / source):
        if line.startswith("-c "):
            continue
        asked = Requirement(line)
        version = version_here(ENVS / lock, asked.name)
        assert version, f"{asked.name} of {source} is not in {lock}; say make lock"
        assert asked.specifier.contains(version), f"{source} asks for {line}, {lock} has {version}; say make lock"


def test_what_the_executor_for_slurm_needs_is_locked() -> None:
    here = pins(ENVS / "slurm.txt")
    assert not {name for name, _ in here} & {name for name, _ in pins(ENVS / "cpu.txt")}
    for distribution in importlib.metadata.distributions(path=[str(REPOSITORY / ".venv" / "slurm")]):
        for text in distribution.requires or []:
            needed = Requirement(text)
            version = version_here(ENVS / "slurm.txt", needed.name) or version_here(ENVS / "cpu.txt", needed.name)
            assert version, f"{needed.name} is in neither lock"
            assert needed.specifier.contains(version), f"{distribution.name} wants {needed}, locked is {version}"


def test_the_locks_serve_every_supported_python() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("numpy", "pandas", "numba", "transformers", "snakemake"):
        markers = [marker for pinned, marker in pins(ENVS / "cpu.txt") if pinned == name]
        for minor in (11, 12, 13):
            here = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
            fitting = [marker for marker in markers if not marker or Marker(marker).evaluate(here)]
            assert len(fitting) == 1, f"{name} on Python 3.{minor}: {fitting}"
    assert project["requires-python"] == ">=3.11,<3.14"


def test_what_the_package_depends_on_is_locked_within_its_bounds() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        asked = Requirement(line)
        lock = ENVS / ("torch.txt" if asked.name == "torch" else "cpu.txt")
        version = version_here(lock, asked.name)
        assert version, f"{asked.name} is not in {lock.name}"
        assert asked.specifier.contains(version), f"{line}: {lock.name} has {version}"


def listed_pins(lines: list[str]) -> dict[tuple[str, str], str]:
    """Version by name and marker, of lines that are nothing but pins."""
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        pin = PIN.fullmatch(line)
        assert pin, line
        found[canonicalize_name(pin["name"]), (pin["marker"] or "").strip()] = pin["version"]
    return found


def test_conda_and_apptainer_have_the_pins_of_the_locks() -> None:
    expected = pins(ENVS / "cpu.txt") | pins(ENVS / "torch.txt")
    conda, apptainer = ((ENVS / name).read_text(encoding="utf-8") for name in ("cpu.yaml", "cpu.def"))
    python, _, packages = yaml.safe_load(conda)["dependencies"]
    assert listed_pins(packages["pip"]) == expected
    assert listed_pins(apptainer.partition("<<'END'\n")[2].partition("\nEND\n")[0].splitlines()) == expected
    assert f"From: {python.replace('=', ':')}-slim" in apptainer.splitlines()
    written = make_environments()
    assert (conda, apptainer) == (written.conda(), written.apptainer()), "say make lock"


def test_the_image_that_apptainer_builds_is_the_one_that_jobs_run_in() -> None:
    snakefile = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
    assert 'container: str(Path(workflow.basedir, "envs", "cpu.sif"))' in snakefile
    assert "apptainer build envs/cpu.sif envs/cpu.def" in (ENVS / "cpu.def").read_text(encoding="utf-8")


def test_no_tracked_file_names_a_machine_or_an_index() -> None:
    found = []
    for file in tracked():
        if file == Path(__file__):
            continue
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(REPOSITORY)}:{n}: {x[:100]}" for n, x in enumerate(lines, 1) if FOREIGN.search(x)]
    assert not found


@pytest.mark.parametrize("line", ["see /work/x", "/home/me/wheels", "--index-url https://a", "https://pypi.org/simple"])
def test_a_machine_or_an_index_would_be_seen(line: str) -> None:
    assert FOREIGN.search(line)


def test_make_knows_every_target_that_the_texts_name() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
        assert {"study", "test"} <= named
        assert named <= set(phony[1].split()), document.name
    for target in phony[1].split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_between_pages_lead_to_files_and_headings() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    linked = [
        (page, link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8"))
    ]
    assert len(linked) > 10
    for page, link in linked:
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), f"{page.name}: {link}"
        titles = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
        assert not heading or heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_shows_options_and_paths_that_exist() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for study in re.findall(r"\bstudies/\w+\.yaml", text):
        assert (REPOSITORY / study).is_file(), study
    results = text.partition("## What the results say")[2].partition("\n\n## ")[0]
    rows = [line for line in results.splitlines() if line.startswith("| ") and "reports/" not in line]
    named = set(re.findall(r"`(\w+)`", "".join(rows)))
    assert len(named) > 20
    assert named <= {*TABLES, *FIGURES}
    commands = set(re.findall(r"\.venv/bin/maxact (\w+)", text))
    assert commands
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-c", "from maxact.cli import main; main()", command, "--help"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow_scripts")},
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, and no .venv."""
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "envs").mkdir()
    for name in ("cpu.txt", "torch.txt", "dev.txt", "gpu.txt"):
        (tmp_path / "envs" / name).write_text("", encoding="utf-8")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make there, without options of a make that may run these tests, and with no index to ask."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
    environment["PIP_NO_INDEX"] = "1"
    environment["PIP_CONFIG_FILE"] = os.devnull
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def test_an_unfit_python_is_one_line_and_leaves_nothing(bare: Path) -> None:
    old = bare / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = make(bare, "study", f"PYTHON={old}")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(errors) == 1
    assert "is not Python 3.11 to 3.13" in errors[0]
    assert not (bare / ".venv").exists()


def test_a_set_up_that_fails_leaves_no_stamp(bare: Path) -> None:
    (bare / "envs" / "cpu.txt").write_text(f"nosuchpackage==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    done = make(bare, ".venv/run-time.stamp", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert "nosuchpackage" in done.stderr
    assert not list((bare / ".venv").glob("*.stamp"))


def test_a_finished_set_up_is_not_repeated_until_a_lock_changes(bare: Path) -> None:
    (bare / ".venv").mkdir()
    stamp = bare / ".venv" / "run-time.stamp"
    stamp.touch()
    assert make(bare, "--question", ".venv/run-time.stamp").returncode == 0
    newer = stamp.stat().st_mtime + 10
    for lock in ("envs/cpu.txt", "envs/torch.txt", "pyproject.toml"):
        before = (bare / lock).stat().st_mtime
        os.utime(bare / lock, (newer, newer))
        assert make(bare, "--question", ".venv/run-time.stamp").returncode == 1, lock
        os.utime(bare / lock, (before, before))


def test_a_folder_with_a_blank_is_refused_before_anything_is_set_up(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my work"
    folder.mkdir()
    shutil.copy(bare / "Makefile", folder)
    done = make(folder, "study")
    assert done.returncode == 2
    assert f"{folder}: has a blank in its name" in done.stderr
    assert not (folder / ".venv").exists()


def test_plain_make_prints_its_targets(bare: Path) -> None:
    done = make(bare)
    assert done.returncode == 0
    assert {"make study", "make test"} <= set(re.findall(r"^make [a-z-]+", done.stdout, re.MULTILINE))
