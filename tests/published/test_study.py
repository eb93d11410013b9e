"""A study of published results as users write it: what it says, and each mistake on one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maxact.errors import UserError
from maxact.published.choice import note_source_of, published_source
from maxact.published.where import noted_source
from maxact.study import PublishedStudy, Study, load_any_study, load_study, validate_study
from maxact.study.pins import lock_file, refuse_unpinned
from published.tree import made, study, written

STUDIES = Path(__file__).parents[2] / "studies"
PAPER = STUDIES.parent / "config.yaml"


def valid(change: Callable[[dict[str, Any]], Any] = lambda config: None) -> PublishedStudy:
    config = study()
    change(config)
    found = validate_study(config, [Path("study.yaml")])
    assert isinstance(found, PublishedStudy)
    return found


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAXACT_PUBLISHED", raising=False)


def test_a_study_with_the_section_published_is_one_of_published_results() -> None:
    assert valid().checkpoints[0].found_as == "small-1b"
    assert isinstance(load_any_study(STUDIES / "pocket.yaml"), Study)


def test_the_published_study_has_the_checkpoints_and_comparisons_of_the_papers() -> None:
    published, paper = load_any_study(STUDIES / "published.yaml"), load_study(PAPER)
    assert isinstance(published, PublishedStudy)
    ours = [(one.name, published.families[one.family].model_type, one.role) for one in published.checkpoints]
    assert ours == [(one.name, paper.families[one.family].model_type, one.role) for one in paper.checkpoints]
    assert published.comparisons == paper.comparisons


def test_its_lock_file_pins_every_result_file_of_the_commit() -> None:
    published = load_any_study(STUDIES / "published.yaml")
    assert isinstance(published, PublishedStudy)
    assert published.published.pin is not None
    names = published.published.pin.files
    for checkpoint in published.checkpoints:
        for suffix in ("activation", "top5"):
            assert sum(name.endswith(f"/json/{checkpoint.found_as}_{suffix}_stats.json") for name in names) >= 1
    assert sum(name.startswith("bootstrap/") for name in names) == 40
    assert all(pin.digest.startswith("sha256:") for pin in names.values())


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no commit": (lambda c: c["published"].pop("commit"), "published.commit: missing"),
    "a branch": (lambda c: c["published"].update(commit="main"), "published.commit: String should match pattern"),
    "out of the folder": (
        lambda c: c["published"].update(directory="../x"),
        "published.directory: String should match",
    ),
    "unknown key": (lambda c: c.update(corpus={}), "corpus: unknown key"),
    "family": (
        lambda c: c["checkpoints"][0].update(family="smal"),
        "checkpoints[0] (small-1b).family: 'smal' is not under families; did you mean 'small'?",
    ),
    "twice": (lambda c: c["checkpoints"][1].update(name="small-1b"), "checkpoints[1].name: 'small-1b' is named twice"),
    "published twice": (
        lambda c: c["checkpoints"][1].update(published_name="small-1b"),
        "checkpoints[1].published_name: 'small-1b' is named twice",
    ),
    "comparison": (
        lambda c: c["comparisons"]["scaling"]["small"].append("small-9b"),
        "comparisons.scaling.small: no checkpoint is named 'small-9b'; did you mean",
    ),
    "no checkpoint": (lambda c: c.update(checkpoints=[]), "checkpoints: List should have at least 1 item"),
    "store": (lambda c: c.update(study="objects"), "study: 'objects' is a folder of the store"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_key(mistake: str) -> None:
    change, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as found:
        valid(change)
    assert str(found.value).startswith(f"study.yaml: {expected}")
    assert "\n" not in str(found.value)


def test_a_command_that_measures_refuses_it() -> None:
    with pytest.raises(UserError, match="a study of published results measures nothing"):
        load_study(STUDIES / "published.yaml")


def test_a_folder_on_the_command_line_comes_before_the_variable_and_that_before_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (written(tmp_path / name, made()) for name in ("one", "other"))
    (other / "quant" / "quant_sanity_summary.json").unlink()
    store = tmp_path / "store"

    def read(found: PublishedStudy) -> dict[str, Any]:
        note_source_of(found, store)
        return noted_source(store, published_source(found)["files"])

    pin = {"files": {"Small/json/a_activation_stats.json": {"size": 3, "digest": "sha256:" + "1" * 64}}}
    pinned = valid(lambda config: config["published"].update(pin=pin))
    assert read(pinned)["repository"] == "someone/results"
    monkeypatch.setenv("MAXACT_PUBLISHED", str(other))
    assert read(valid()) == {"folder": str(other)}
    given = valid(lambda config: config.update(published_results=str(one)))
    assert read(given) == {"folder": str(one)}
    assert len(published_source(given)["files"]) == len(made())


def test_where_files_are_decides_nothing(tmp_path: Path) -> None:
    """A folder, another one with the same files, and the repository with them pinned: one recipe."""
    folders = [written(tmp_path / name, made()) for name in ("one", "other")]
    found = [valid(lambda config, at=folder: config.update(published_results=str(at))) for folder in folders]
    one = published_source(found[0])
    pin = {"files": {path: {"size": 1, "digest": f"sha256:{digest}"} for path, digest in one["files"].items()}}
    pinned = valid(lambda config: config["published"].update(pin=pin))
    archived = valid(lambda config: config["published"].update(pin={"given": one["files"]}))
    assert one == published_source(found[1]) == published_source(pinned) == published_source(archived)


def test_files_that_nothing_was_noted_of_are_one_line(tmp_path: Path) -> None:
    archived = valid(lambda config: config["published"].update(pin={"given": {"a/json/b_top5_stats.json": "1" * 64}}))
    note_source_of(archived, tmp_path)
    with pytest.raises(UserError, match=r"^the result files that this study was made of are not here; name a folder"):
        noted_source(tmp_path, published_source(archived)["files"])


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    given = valid(lambda config: config.update(published_results=str(tmp_path / "no")))
    with pytest.raises(UserError, match="no such folder; give the folder of the authors' result files"):
        published_source(given)


def test_without_a_folder_and_pins_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 source is not pinned to a commit and digests"):
        refuse_unpinned(valid(), [tmp_path / "study.yaml"])
    refuse_unpinned(valid(lambda config: config.update(published_results="x")), [tmp_path / "study.yaml"])
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study()))
    pins = {"files": {"Small/json/a_activation_stats.json": {"size": 3, "digest": "sha256:" + "1" * 64}}}
    lock = {"models": {}, "datasets": {}, "published": {f"someone/results@{'0' * 40}": pins}}
    lock_file(file).write_text(json.dumps(lock))
    pinned = load_any_study(file)
    assert isinstance(pinned, PublishedStudy)
    refuse_unpinned(pinned, [file])
    assert published_source(pinned)["files"] == {"Small/json/a_activation_stats.json": "1" * 64}


def test_reading_the_workflow_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from pathlib import Path; from maxact.study import load_any_study; from maxact.recipes import recipes;"
        f"list(recipes(load_any_study(Path({str(STUDIES / 'published.yaml')!r})), Path({str(STUDIES.parent / 'envs')!r})));"
        "print([name for name in ('torch', 'pandas', 'numba', 'pyarrow', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
