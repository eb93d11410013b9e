"""The reader of the authors' files: all of a good tree, and of a bad one all but the fault, which it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxact.published.files import Published, read_tree
from published.tree import MODELS, made, written

SMALL = "Small/json/small-1b_activation_stats.json"
SMALL_TOP = "Small/json/small-1b_top5_stats.json"
QUANT = "quant/small-1b_quant_sanity.json"
RUN = "bootstrap/small-1b_s2_r1_activation_stats.json"


@pytest.fixture(scope="module")
def good() -> str:
    return json.dumps(made())


@pytest.fixture
def read(good: str, tmp_path: Path) -> Callable[..., Published]:
    """Reads the tree after an alteration."""

    def altered(change: Callable[[dict[str, Any]], Any] = lambda files: None) -> Published:
        files = json.loads(good)
        change(files)
        return read_tree(written(tmp_path, files))

    return altered


def lines(found: Published, severity: str | None = None) -> list[str]:
    return [str(problem) for problem in found.problems if severity in (None, problem.severity)]


def test_a_good_tree_is_read_whole(read: Callable[..., Published]) -> None:
    found = read()
    assert lines(found) == []
    assert sorted(one.name for one in found.checkpoints) == sorted(model.name for model in MODELS)
    assert [(run.name, run.bits) for run in found.quant] == [("routed-8b", 8), ("small-1b", 8), ("small-7b", 8)]
    assert len(found.quant_summary) == 6
    runs = [(run.name, run.size, run.repetition) for run in found.bootstrap]
    assert runs == [(name, size, n) for name in ("deep-4b", "small-1b") for size in (2, 4) for n in range(3)]
    one = found.checkpoint("small-7b")
    assert (one.series, one.model_type, one.layers, one.hidden_size, one.samples) == ("Small", "qwen2", 3, 16, 5)
    assert (one.global_maximum, one.global_maximum_location) == (-2048.0, "layer_1_hidden (min)")
    assert list(one.sites)[:3] == ["embedding_output", "layer_0_attn_output", "layer_0_mlp_gate"]
    assert one.top is not None
    assert one.top.sites["layer_1_hidden"].values[0] == one.top.global_signed[0] == -2048.0
    with pytest.raises(KeyError):
        found.checkpoint("another")


def test_their_repositorys_own_layout_of_subsets_and_whole_lists_are_read(read: Callable[..., Published]) -> None:
    def change(files: dict[str, Any]) -> None:
        files["bootstrap/2/r1/Small/json/small-1b_activation_stats.json"] = files.pop(RUN)
        files["supplementary/exp_A/small-1b_s2_r1_activation_stats.json"] = "{}"
        for site in files[SMALL_TOP]["per_layer_stats"].values():
            site |= {"topk_abs": site["top5_abs"], "topk_signed": site["top5_signed"], "top_k": 5}
            site |= {"topk_abs_mean": site["top5_abs_mean"], "topk_signed_mean": site["top5_signed_mean"]}

    found = read(change)
    assert lines(found) == []
    assert len(found.bootstrap) == 12


def site(files: dict[str, Any], name: str = "layer_1_hidden", file: str = SMALL) -> dict[str, Any]:
    values: dict[str, Any] = files[file]["per_layer_stats"][name]
    return values


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "truncated": (lambda f: f.update({SMALL: json.dumps(f[SMALL])[:500]}), "error", f"{SMALL}: not valid JSON"),
    "nothing": (lambda f: f.update({SMALL: "null"}), "error", f"{SMALL}: holds nothing"),
    "nothing of the largest": (lambda f: f.update({SMALL_TOP: "{}"}), "error", f"{SMALL_TOP}: holds nothing"),
    "no object": (lambda f: f.update({SMALL: []}), "error", f"{SMALL}: not an object but a list"),
    "NaN": (
        lambda f: site(f).update(max=float("nan")),
        "error",
        f"{SMALL}: per_layer_stats.layer_1_hidden.max: not finite (nan)",
    ),
    "infinite": (
        lambda f: site(f).update(rms=float("inf")),
        "error",
        f"{SMALL}: per_layer_stats.layer_1_hidden.rms: not finite",
    ),
    "text for a number": (lambda f: site(f).update(min="-3"), "error", "layer_1_hidden.min: not a number but a text"),
    "null": (lambda f: site(f).update(min=None), "error", "layer_1_hidden.min: not a number but null"),
    "field missing": (lambda f: site(f).pop("abs_q99"), "error", "layer_1_hidden.abs_q99: missing"),
    "unknown field": (lambda f: site(f).update(skew=1.0), "warning", "layer_1_hidden.skew: unknown key"),
    "unknown site": (
        lambda f: f[SMALL]["per_layer_stats"].update(layer_1_norm={}),
        "error",
        "layer_1_norm: a site of unknown name",
    ),
    "layer missing": (
        lambda f: [
            f[SMALL]["per_layer_stats"].pop(name) for name in list(f[SMALL]["per_layer_stats"]) if "_2_" in name
        ],
        "error",
        f"{SMALL}: per_layer_stats.layer_2: missing: layer 2 of 3",
    ),
    "site missing": (
        lambda f: f[SMALL]["per_layer_stats"].pop("layer_0_hidden"),
        "error",
        "per_layer_stats.layer_0_hidden: missing",
    ),
    "layer too many": (
        lambda f: f[SMALL].update(num_hidden_layers=2),
        "left out",
        "num_hidden_layers is 2, so there is no layer 2",
    ),
    "count": (
        lambda f: site(f).update(count=1.0),
        "warning",
        "layer_1_hidden.count: 1, but sun_n_tokens 40 times hidden_size 16",
    ),
    "histogram count": (
        lambda f: site(f).update(abs_hist_count=639.0),
        "warning",
        "layer_1_hidden.abs_hist_count: 639, but count is 640",
    ),
    "tokens that pass": (
        lambda f: site(f).update(sun_n_pass=41.0),
        "error",
        "layer_1_hidden.sun_n_pass: 41 is no number of 40 tokens",
    ),
    "pass of nothing": (
        lambda f: site(f, "layer_0_hidden").update(sun_n_pass=1.0),
        "warning",
        "layer_0_hidden.sun_n_pass: 1 tokens pass, but nothing",
    ),
    "quantiles": (lambda f: site(f).update(abs_q25=9.0), "warning", "layer_1_hidden.abs_median"),
    "quantile beyond": (
        lambda f: site(f, "layer_0_hidden").update(abs_q999=900.0),
        "warning",
        "layer_0_hidden.abs_q999: 900 is more than the largest",
    ),
    "max below min": (
        lambda f: site(f, "layer_0_mlp_gate").update(max=-90.0),
        "error",
        "layer_0_mlp_gate.max: -90 is less than min",
    ),
    "mean beyond": (
        lambda f: site(f).update(mean=-900.0),
        "warning",
        "layer_1_hidden.mean: -900 is not between min",
    ),
    "deviation beyond": (
        lambda f: site(f, "layer_0_mlp_gate").update(std=900.0),
        "warning",
        "layer_0_mlp_gate.std: 900 is more than half of what lies between min",
    ),
    "deviation below zero": (lambda f: site(f).update(std=-1.0), "error", "layer_1_hidden.std: negative (-1)"),
    "quantile below zero": (lambda f: site(f).update(abs_q25=-1.0), "error", "layer_1_hidden.abs_q25: negative (-1)"),
    "more zeros than elements": (
        lambda f: site(f).update(abs_hist_zero_frac=1.5),
        "error",
        "layer_1_hidden.abs_hist_zero_frac: 1.5 is no part of 1",
    ),
    "median beyond": (
        lambda f: site(f, "layer_0_hidden").update(abs_median=900.0),
        "warning",
        "layer_0_hidden.abs_median: 900 is more than the largest",
    ),
    "no element": (lambda f: site(f).update(count=0), "error", "layer_1_hidden.count: not a whole number from 1 to"),
    "no token": (
        lambda f: site(f).update(sun_n_tokens=0),
        "error",
        "layer_1_hidden.sun_n_tokens: not a whole number from 1 to",
    ),
    "rms": (lambda f: site(f).update(rms=1.0), "warning", "layer_1_hidden.rms: 1, but mean and std give"),
    "peak": (
        lambda f: site(f).update(sun_peak_abs=511.0),
        "warning",
        "layer_1_hidden.sun_peak_abs: 511, but max and min give 512",
    ),
    "ratio": (
        lambda f: site(f).update(sun_peak_token_ratio=2.0),
        "warning",
        "layer_1_hidden.sun_peak_token_ratio: 2, but sun_peak_abs by",
    ),
    "tokens of one site": (
        lambda f: site(f, "embedding_output").update(sun_n_tokens=80.0, count=1280.0, abs_hist_count=1280.0),
        "warning",
        "embedding_output.sun_n_tokens: 80, but most sites have 40",
    ),
    "maximum": (
        lambda f: f[SMALL].update(global_max_activation=500.0),
        "warning",
        f"{SMALL}: global_max_activation: 500, but the largest |x| of the sites is 512 (layer_1_hidden)",
    ),
    "location": (
        lambda f: f[SMALL].update(global_max_location="layer_9_hidden (max)"),
        "warning",
        "global_max_location: 'layer_9_hidden (max)' is no site",
    ),
    "wrong location": (
        lambda f: f[SMALL].update(global_max_location="layer_0_hidden (max)"),
        "warning",
        "global_max_location: 'layer_0_hidden (max)' has",
    ),
    "no model": (lambda f: f[SMALL].pop("model_name"), "error", f"{SMALL}: model_name: missing"),
    "layers beyond counting": (
        lambda f: f[SMALL].update(num_hidden_layers=10**12),
        "error",
        f"{SMALL}: num_hidden_layers: not a whole number from 1 to 5,000",
    ),
    "thresholds that are none": (
        lambda f: f[QUANT]["thresholds"].update(max_abs=1.0),
        "error",
        f"{QUANT}: thresholds.max_abs: not an object but a number",
    ),
    "tokens below zero": (
        lambda f: (site(f).pop("sun_n_pass"), site(f).update(sun_n_tokens=-1.0)),
        "error",
        "layer_1_hidden.sun_n_tokens: not a whole number from 1 to",
    ),
    "ratio below zero": (
        lambda f: site(f).update(sun_max_ratio=-1.0),
        "error",
        "layer_1_hidden.sun_max_ratio: negative (-1)",
    ),
    "squares beyond a float": (lambda f: site(f).update(rms=1e300), "warning", "layer_1_hidden.rms: 1e+300"),
    "layers": (
        lambda f: f[SMALL].update(num_hidden_layers=2.5),
        "error",
        f"{SMALL}: num_hidden_layers: not a whole number",
    ),
    "another model": (
        lambda f: f[SMALL].update(model_name="else"),
        "warning",
        f"{SMALL}: model_name: a file for else under the name of small-1b",
    ),
    "duplicate": (
        lambda f: f.update({"Deep/json/copy_activation_stats.json": f[SMALL]}),
        "error",
        f"Deep/json/copy_activation_stats.json: model_name: a second file for small-1b; left out, {SMALL} is read",
    ),
    "no top": (lambda f: f.pop(SMALL_TOP), "error", f"{SMALL}: model_name: no *_top5_stats.json of this model"),
    "top of no model": (lambda f: f.pop(SMALL), "error", f"{SMALL_TOP}: model_name: no statistics of small-1b"),
    "top and statistics": (
        lambda f: site(f, file=SMALL_TOP).update(top5_abs=[513.0, 3, 3, 3, 3]),
        "warning",
        f"{SMALL_TOP}: per_layer_stats.layer_1_hidden.top5_signed: is not top5_abs with signs",
    ),
    "top order": (
        lambda f: site(f, file=SMALL_TOP)["top5_abs"].reverse(),
        "warning",
        "layer_1_hidden.top5_abs: is not in descending order",
    ),
    "top mean": (
        lambda f: site(f, file=SMALL_TOP).update(top5_abs_mean=1.0),
        "warning",
        "layer_1_hidden.top5_abs_mean: 1, but the values' mean is",
    ),
    "top NaN": (
        lambda f: site(f, file=SMALL_TOP)["top5_signed"].append(float("nan")),
        "error",
        "layer_1_hidden.top5_signed[5]: not a finite number but nan",
    ),
    "ratio above the peak": (
        lambda f: site(f).update(sun_max_ratio_abs=513.0),
        "warning",
        "layer_1_hidden.sun_max_ratio_abs: 513 is more than the largest |x| 512",
    ),
    "a token that passes is not counted": (
        lambda f: site(f).update(
            sun_n_pass=0.0, sun_max_ratio=2000.0, sun_max_ratio_abs=512.0, sun_max_ratio_median=0.256
        ),
        "warning",
        "layer_1_hidden.sun_n_pass: no token passes, but that of sun_max_ratio does",
    ),
    "more tokens pass than the mean ratio allows": (
        lambda f: site(f).update(sun_n_pass=30.0, sun_mean_ratio=20.0),
        "warning",
        "layer_1_hidden.sun_n_pass: 30 tokens pass, more than sun_mean_ratio 20 allows",
    ),
    "squares of one element": (
        lambda f: site(f).update(rms=2.0, std=2.0, mean=0.0, abs_mean=1.0),
        "warning",
        "layer_1_hidden.rms: 2, but the largest |x| 512 alone gives more over 640 elements",
    ),
    "quant policies of other samples": (
        lambda f: f[QUANT]["metrics"][1].update(count=7),
        "warning",
        f"{QUANT}: metrics[1].count: 7, but 256 with another policy",
    ),
    "quant policies of other tensors": (
        lambda f: f[QUANT]["metrics"][1].update(mae=f[QUANT]["metrics"][1]["mae"] / 2),
        "warning",
        f"{QUANT}: metrics[1].rel_mae: gives a mean |x| of",
    ),
    "hidden size": (
        lambda f: f[SMALL].update(hidden_size=15),
        "warning",
        f"{SMALL}: hidden_size: 15, but count by sun_n_tokens is 16 at 11 of 11 sites",
    ),
    "quant truncated": (lambda f: f.update({QUANT: "{"}), "error", f"{QUANT}: not valid JSON"),
    "quant NaN": (
        lambda f: f[QUANT]["metrics"][0].update(mae=float("nan")),
        "error",
        f"{QUANT}: metrics[0].mae: not finite",
    ),
    "quant sqnr": (
        lambda f: f[QUANT]["metrics"][0].update(sqnr_db=1.0),
        "warning",
        f"{QUANT}: metrics[0].sqnr_db: 1, but rel_rmse gives",
    ),
    "quant threshold": (
        lambda f: f[QUANT]["thresholds"].pop("max_abs"),
        "warning",
        f"{QUANT}: metrics[1]: no threshold for layer_1_hidden with policy max_abs",
    ),
    "quant metric": (
        lambda f: f[QUANT]["metrics"].pop(),
        "error",
        f"{QUANT}: metrics: none for layer_1_hidden with policy max_abs",
    ),
    "quant reference": (
        lambda f: f[QUANT].update(reference_global_max_abs=1.0),
        "warning",
        f"{QUANT}: reference_global_max_abs: 1, but {SMALL} has 512",
    ),
    "quant family": (
        lambda f: f[QUANT].update(family="Deep"),
        "warning",
        f"{QUANT}: family: Deep, but {SMALL} is in Small",
    ),
    "quant of no model": (
        lambda f: f.pop(SMALL),
        "warning",
        f"{QUANT}: model_name: no statistics of small-1b in this folder",
    ),
    "summary": (
        lambda f: f["quant/quant_sanity_summary.json"][0].update(mean_rel_mae=2.0),
        "warning",
        "quant_sanity_summary.json: [0].mean_rel_mae: 2, but the run of small-1b gives",
    ),
    "summary row": (
        lambda f: f["quant/quant_sanity_summary.json"].pop(),
        "warning",
        "quant_sanity_summary.json: no row for routed-8b",
    ),
    "subset size": (lambda f: f[RUN].update(num_samples=3), "warning", f"{RUN}: num_samples: 3, but the path says 2"),
    "subset of another": (
        lambda f: f[RUN].update(model_name="deep-4b"),
        "warning",
        f"{RUN}: model_name: a file for deep-4b under the name of small-1b",
    ),
    "subset twice": (
        lambda f: f.update({"bootstrap/2/r1/Small/json/small-1b_activation_stats.json": f[RUN]}),
        "error",
        "a second file for small-1b, size 2, repetition 1",
    ),
    "subset without a size": (
        lambda f: f.update({"bootstrap/small-1b_activation_stats.json": f[RUN]}),
        "error",
        "bootstrap/small-1b_activation_stats.json: size and repetition",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_on_one_line_and_the_rest_is_read(fault: str, read: Callable[..., Published]) -> None:
    change, severity, expected = FAULTS[fault]
    found = read(change)
    assert any(expected in line for line in lines(found, severity)), lines(found)
    assert not any("\n" in line for line in lines(found))
    others = {"small-7b", "small-1b-it", "routed-8b", "deep-4b"}
    assert others <= {one.name for one in found.checkpoints}


def test_a_wrong_hidden_size_is_one_fault_and_not_one_of_each_site(read: Callable[..., Published]) -> None:
    assert len(lines(read(lambda files: files[SMALL].update(hidden_size=15)))) == 1


def test_an_impossible_pair_of_extremes_is_no_value(read: Callable[..., Published]) -> None:
    def swap(files: dict[str, Any]) -> None:
        values = site(files, "layer_0_hidden")
        values["max"], values["min"] = values["min"], values["max"]

    found = read(swap).checkpoint("small-1b")
    assert not {"max", "min"} & found.sites["layer_0_hidden"].keys()
    assert found.doubts == {}


def test_what_is_not_finite_is_no_value_of_the_site(read: Callable[..., Published]) -> None:
    found = read(lambda files: site(files).update(max=float("nan"), min=None))
    values = found.checkpoint("small-1b").sites["layer_1_hidden"]
    assert "max" not in values
    assert "min" not in values
    assert values["rms"] > 0


def test_files_under_each_others_names_are_read_as_what_they_are(read: Callable[..., Published]) -> None:
    other = "Small/json/small-7b_activation_stats.json"
    before = read()
    found = read(lambda files: files.update({SMALL: files[other], other: files[SMALL]}))
    assert [(one.name, one.global_maximum) for one in found.checkpoints] == [
        (one.name, one.global_maximum) for one in before.checkpoints
    ]
    assert len(lines(found, "warning")) == 2


def test_a_key_that_stands_twice_is_told(read: Callable[..., Published]) -> None:
    def change(files: dict[str, Any]) -> None:
        files[SMALL] = json.dumps(files[SMALL]).replace('"hidden_size"', '"hidden_size": 7, "hidden_size"')

    assert any(f"{SMALL}: hidden_size: stands twice" in line for line in lines(read(change)))


def test_the_authors_files_are_read_and_have_no_error(authors_results: Path) -> None:
    found = read_tree(authors_results)
    assert (len(found.checkpoints), len(found.quant), len(found.bootstrap)) == (27, 8, 40)
    assert lines(found, "error") == []
    assert {problem.file.split("/")[0] for problem in found.problems} == {"ling"}
