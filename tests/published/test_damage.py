"""Whatever the files hold, the study is made: what cannot be used is named, and the rest is in the tables."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from maxact.errors import UserError
from maxact.published.audit.stage import compute as audit_results
from maxact.published.stage import compute as import_results
from published.audit.test_stage import job_on
from published.stages import results_of
from published.tree import made, study, written

Files = dict[str, Any]

SMALL = "Small/json/small-1b_activation_stats.json"
TOP = "Small/json/small-1b_top5_stats.json"
DEEP = "Deep/json/deep-4b_activation_stats.json"
QUANT = "quant/small-1b_quant_sanity.json"
RUN = "bootstrap/small-1b_s2_r1_activation_stats.json"
HUGE, HALF = 10**400, "\ud800"
HOSTILE = (
    HUGE,
    -HUGE,
    5.5,
    -0.5,
    -7,
    1e19,
    1e30,
    1e300,
    -1e300,
    1e-310,
    0,
    2**53,
    2**31,
    9999,
    HALF,
    None,
    True,
    [],
    {},
)


@pytest.fixture(scope="module")
def good() -> str:
    return json.dumps(made())


@pytest.fixture
def tree(good: str, tmp_path: Path) -> Callable[..., Path]:
    """Writes the files after an alteration."""

    def altered(change: Callable[[Files], Any]) -> Path:
        files = json.loads(good)
        change(files)
        return written(tmp_path / "tree", files)

    return altered


def told_by_import(tree: Path, folder: Path) -> pd.DataFrame:
    """The faults that the stage `published` notes."""
    return pd.read_parquet(import_results(job_on(tree, folder)).files["problems.parquet"])


def told_by_study(tree: Path, folder: Path) -> pd.DataFrame:
    """The faults that the tables of a study of the tree tell."""
    product = results_of(tree, study(), folder)
    json.dumps(product.summary, allow_nan=False)
    return pd.read_csv(product.files["published_problems.csv"], keep_default_na=False)


def hidden(files: Files) -> Files:
    found: Files = files[SMALL]["per_layer_stats"]["layer_1_hidden"]
    return found


def put_far_subset(files: Files) -> None:
    files["bootstrap/small-1b_s99999999999_r0_activation_stats.json"] = files.pop(RUN)


def put_second_policy(files: Files) -> None:
    run = files[QUANT]
    run["thresholds"]["quantile_0.9"] = run["thresholds"]["clip_q0.9"]
    run["metrics"].append({**run["metrics"][0], "policy": "quantile_0.9"})


def everywhere(files: Files) -> None:
    """All numbers of two checkpoints, and of the subsets of one, are 0."""
    for path in [path for path in files if "small-1b_" in path or "deep-4b_" in path]:
        if "global_max_activation" in files[path]:
            files[path]["global_max_activation"] = 0.0
        for site in files[path].get("per_layer_stats", {}).values():
            for field, value in site.items():
                zeros = [0.0] * len(value) if isinstance(value, list) else 0.0
                site[field] = value if field in ("count", "sun_n_tokens", "abs_hist_count", "top_k") else zeros


FAULTS: dict[str, tuple[Callable[[Files], Any], str, str]] = {
    "beyond a float": (lambda f: hidden(f).update(rms=HUGE), SMALL, "per_layer_stats.layer_1_hidden.rms"),
    "in a list": (
        lambda f: f[TOP]["per_layer_stats"]["layer_1_hidden"]["top5_abs"].append(-HUGE),
        TOP,
        "per_layer_stats.layer_1_hidden.top5_abs[5]",
    ),
    "layers beyond a float": (lambda f: f[SMALL].update(num_hidden_layers=HUGE), SMALL, "num_hidden_layers"),
    "count": (lambda f: hidden(f).update(count=5.5), SMALL, "per_layer_stats.layer_1_hidden.count"),
    "count beyond 64 bits": (lambda f: hidden(f).update(count=1e30), SMALL, "per_layer_stats.layer_1_hidden.count"),
    "tokens": (lambda f: hidden(f).update(sun_n_tokens=5.5), SMALL, "per_layer_stats.layer_1_hidden.sun_n_tokens"),
    "tokens that pass": (
        lambda f: hidden(f).update(sun_n_pass=-0.5),
        SMALL,
        "per_layer_stats.layer_1_hidden.sun_n_pass",
    ),
    "less than none": (lambda f: hidden(f).update(sun_n_pass=-7), SMALL, "per_layer_stats.layer_1_hidden.sun_n_pass"),
    "more than all": (lambda f: hidden(f).update(sun_n_pass=41), SMALL, "per_layer_stats.layer_1_hidden.sun_n_pass"),
    "elements": (lambda f: f[QUANT]["metrics"][0].update(count=1e19), QUANT, "metrics[0].count"),
    "elements beyond": (lambda f: f[QUANT]["metrics"][0].update(count=1e300), QUANT, "metrics[0].count"),
    "layers": (lambda f: f[SMALL].update(num_hidden_layers=9999), SMALL, "num_hidden_layers"),
    "channels": (lambda f: f[SMALL].update(hidden_size=2**31), SMALL, "hidden_size"),
    "bits": (lambda f: f[QUANT].update(bits=2000), QUANT, "bits"),
    "subset": (put_far_subset, "bootstrap/small-1b_s99999999999_r0_activation_stats.json", ""),
    "site that is no text": (
        lambda f: f[SMALL]["per_layer_stats"].update({HALF: {}}),
        SMALL,
        r"per_layer_stats.\ud800",
    ),
    "architecture that is no text": (lambda f: f[SMALL].update(model_type=HALF), SMALL, "model_type"),
    "policy that is no text": (lambda f: f[QUANT]["metrics"][0].update(policy=HALF), QUANT, "metrics[0]"),
    "policy of the same name": (put_second_policy, QUANT, "metrics[2]"),
}


TOGETHER = (
    "beyond a float",
    "in a list",
    "count",
    "tokens",
    "tokens that pass",
    "elements",
    "subset",
    "policy of the same name",
)
"""Faults that do not hide each other."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_number_that_no_table_can_hold_is_an_error_with_file_and_field(
    fault: str, tree: Callable[..., Path], tmp_path: Path
) -> None:
    change, file, field = FAULTS[fault]
    told = told_by_import(tree(change), tmp_path / "job")
    assert "error" in set(told.severity[(told.file == file) & (told.field == field)]), told.to_csv()


def test_a_study_with_many_faults_has_its_tables(tree: Callable[..., Path], tmp_path: Path) -> None:
    told = told_by_study(tree(lambda files: [FAULTS[fault][0](files) for fault in TOGETHER]), tmp_path / "study")
    for fault in TOGETHER:
        _, file, field = FAULTS[fault]
        assert ((told.file == file) & (told.field == field)).any(), fault


def test_a_checkpoint_of_zeros_has_no_shares(tree: Callable[..., Path], tmp_path: Path) -> None:
    product = results_of(tree(everywhere), study(), tmp_path / "study")
    found = pd.read_csv(product.files["bootstrap.csv"])
    assert (found["M"] == 0).sum() == 4
    assert found.mean_share.isna().all()


def test_sites_beyond_the_decoder_are_told_as_left_out(tree: Callable[..., Path], tmp_path: Path) -> None:
    told = told_by_import(tree(lambda files: files[DEEP].update(num_hidden_layers=3)), tmp_path / "job")
    beyond = told[told.field.str.startswith("per_layer_stats.layer_3")]
    assert set(beyond.severity) == {"left out"}
    assert len(beyond) == 5  # the layer and its four sites


def test_files_without_any_checkpoint_of_the_study_are_one_line(tree: Callable[..., Path], tmp_path: Path) -> None:
    def change(files: Files) -> None:
        for content in files.values():
            if isinstance(content, dict):
                content["model_type"] = "other"

    with pytest.raises(
        UserError, match=r"^the published files have no checkpoint of the study: small-1b: .*other, where"
    ):
        told_by_study(tree(change), tmp_path / "study")


def damaged(files: Files, rng: random.Random) -> None:
    """Replace some values anywhere in the files by hostile ones."""

    def places(value: Any) -> list[tuple[Any, Any]]:
        inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        return [(value, key) for key, _ in inner] + [place for _, below in inner for place in places(below)]

    for holder, key in rng.sample(places([content for path, content in files.items() if path != DEEP]), 300):
        holder[key] = rng.choice(HOSTILE)
    for holder, key in rng.sample(places(files[DEEP]["per_layer_stats"]), 40):
        holder[key] = rng.choice(HOSTILE)


@pytest.mark.filterwarnings("error::RuntimeWarning")  # a user would see them
@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_end_in_tables_and_an_audit_and_not_in_a_traceback(
    seed: int, tree: Callable[..., Path], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    files = tree(lambda files: damaged(files, rng))
    assert len(told_by_study(files, tmp_path / "study"))
    assert audit_results(job_on(files, tmp_path / "audit")).summary["findings"]
