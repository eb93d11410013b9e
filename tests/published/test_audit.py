"""Each check of the audit: silent on good files, and where its fault is put into a checkpoint, found there and nowhere else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maxact.errors import UserError
from maxact.published.audit import (
    CHECKS,
    audit,
    coverage,
    maxima,
    quantization,
    readings,
    routers,
    series,
    subsets,
    values,
)
from maxact.published.audit.faults import faults_of_files
from maxact.published.audit.finding import Finding, Severity
from maxact.published.audit.maxima import spacing
from maxact.published.audit.pages import page, to_json
from maxact.published.audit.quantization import BINS
from maxact.published.audit.reading import READINGS
from maxact.published.audit.series import HOMES
from maxact.published.files import Published, read_tree
from maxact.results.pages import page_to_html, page_to_markdown
from maxact.store.objects import canonical
from published.tree import EXPERTS, Model, made, written

Files = dict[str, Any]

MODELS = (
    Model("Small", "small-1b", quant=True, bootstrap=True),
    Model("Small", "small-7b", M=2048.0, quant=True, bootstrap=True),
    Model("Small", "small-14b", M=1024.0, quant=True),
    Model("Deep", "deep-4b", "gemma3", M=200704.0, at="layer_3_hidden", layers=4),
)
A, B = "small-1b", "small-7b"


@pytest.fixture(scope="module")
def good() -> str:
    """A tree without any fault: subsets hold the sample with M, and not the same ones of two checkpoints."""
    files = made(MODELS)
    for path in [path for path in files if path.startswith("bootstrap/")]:
        M = next(model.M for model in MODELS if model.name == files[path]["model_name"])
        other = "_r0_" if files[path]["model_name"] == A else "_r2_"
        if files[path]["global_max_activation"] != M or other in path:
            del files[path]
    assert sum(path.startswith("bootstrap/") for path in files) == 4
    return json.dumps(files)


@pytest.fixture
def read(good: str, tmp_path: Path) -> Callable[..., Published]:
    trees = iter(range(100))

    def altered(*changes: Callable[[Files], Any]) -> Published:
        files = json.loads(good)
        for change in changes:
            change(files)
        return read_tree(written(tmp_path / str(next(trees)), files))

    return altered


def statistics(files: Files, name: str) -> Files:
    found: Files = next(files[path] for path in paths(files, name) if "/json/" in path and "_activation_" in path)
    return found


def paths(files: Files, name: str) -> Iterator[str]:
    yield from [path for path in files if isinstance(files[path], dict) and files[path].get("model_name") == name]


def site(files: Files, name: str, of: str) -> Files:
    found: Files = statistics(files, name)["per_layer_stats"][of]
    return found


def quant(files: Files, name: str) -> Files:
    found: Files = next(files[path] for path in paths(files, name) if path.startswith("quant/"))
    return found


def runs(files: Files, name: str) -> list[Files]:
    return [files[path] for path in paths(files, name) if path.startswith("bootstrap/")]


def put_router(files: Files, name: str, field: str = "moe_gate", excess: int = 0, **values: float) -> None:
    """A router in each layer, with a row for each token and for some further positions."""
    tokens = site(files, name, "embedding_output")["sun_n_tokens"]
    for layer in range(3):
        x = {"mean": -0.5, "std": 1.0, "abs_mean": 1.0, "rms": 1.2, "max": 3.0, "min": -3.0}
        x |= {"count": EXPERTS * (tokens + excess), **values}
        statistics(files, name)["per_layer_stats"][f"layer_{layer}_{field}"] = x


def put_probabilities(files: Files, name: str) -> None:
    put_router(files, name, "router_logits", mean=1 / EXPERTS, min=0.001, max=0.96875)


def put_indices(files: Files, name: str) -> None:
    put_router(files, name, mean=3.5, min=0.0, max=EXPERTS - 1.0)


def put_padding(files: Files, name: str) -> None:
    put_router(files, name, excess=2)


def put_series(files: Files, name: str) -> None:
    statistics(files, name)["model_type"] = "qwen"


def put_tie(files: Files, name: str) -> None:
    M = site(files, name, "layer_1_hidden")["max"]
    site(files, name, "layer_2_mlp_output").update(max=M, sun_peak_abs=M)


def put_sign(files: Files, name: str) -> None:
    x = site(files, name, "layer_1_hidden")
    x.update(min=-x["max"], max=3.0)


def put_both_signs(files: Files, name: str) -> None:
    x = site(files, name, "layer_1_hidden")
    x["min"] = -x["max"]


def put_component(files: Files, name: str) -> None:
    run = quant(files, name)
    run["selected_layers"] = ["final_layernorm"]
    run["thresholds"] = {policy: {"final_layernorm": max(x.values())} for policy, x in run["thresholds"].items()}
    for metric in run["metrics"]:
        metric["layer"] = "final_layernorm"


def put_vision(files: Files, name: str) -> None:
    statistics(files, name)["model_type"] = "qwen2_vl"


def put_no_gate(files: Files, name: str) -> None:
    del statistics(files, name)["per_layer_stats"]["layer_1_mlp_gate"]


def put_rare(files: Files, name: str) -> None:
    runs(files, name)[0]["per_layer_stats"]["layer_1_hidden"].update(max=64.0, sun_peak_abs=64.0)


def put_copy(files: Files, name: str) -> None:
    copy = json.loads(json.dumps(statistics(files, name)))
    files["Copied/json/copy_activation_stats.json"] = {**copy, "model_name": "copy"}


def put_samples(files: Files, name: str) -> None:
    statistics(files, name)["num_samples"] = 6


def put_twice(files: Files, name: str) -> None:
    x = site(files, name, "embedding_output")
    x.update({field: 2 * x[field] for field in ("count", "sun_n_tokens", "abs_hist_count")})


def put_layer(files: Files, name: str) -> None:
    x = statistics(files, name)["per_layer_stats"]
    x["layer_3_hidden"] = dict(x["layer_0_hidden"])


def put_coarse(files: Files, name: str) -> None:
    thresholds = quant(files, name)["thresholds"]
    largest = thresholds["max_abs"]["layer_1_hidden"]
    thresholds["clip_q0.9"]["layer_1_hidden"] = largest * 1 / (BINS - 1)


def put_calibration(files: Files, name: str) -> None:
    quant(files, name)["thresholds"]["max_abs"]["layer_1_hidden"] /= 2


def put_above(files: Files, name: str) -> None:
    x = runs(files, name)[0]["per_layer_stats"]["layer_0_attn_output"]
    x.update(max=2 * x["sun_peak_abs"], sun_peak_abs=2 * x["sun_peak_abs"])


def put_longer_tail(files: Files, name: str) -> None:
    top = next(files[path] for path in paths(files, name) if "_top5_" in path)
    x = top["per_layer_stats"]["layer_1_hidden"]
    x["topk_abs_mean"] = x["top5_abs"][0]


def put_elsewhere(files: Files, name: str) -> None:
    M = site(files, name, "layer_1_hidden")["max"]
    site(files, name, "final_layernorm")["max"] = 4 * M


def put_common(files: Files, name: str) -> None:
    x = site(files, name, "layer_1_hidden")
    x["sun_n_pass"] = x["sun_n_tokens"] / 2


def put_gate(files: Files, name: str) -> None:
    site(files, name, "layer_0_mlp_gate")["max"] = 1e6


def put_dtype(files: Files, name: str) -> None:
    site(files, name, "layer_0_mlp_gate")["max"] = 9.0001


def put_fault(files: Files, name: str) -> None:
    del site(files, name, "layer_0_hidden")["abs_q99"]


def put_limit(files: Files, name: str) -> None:
    statistics(files, name)["max_seq_len"] = 32768


def put_path(files: Files, name: str) -> None:
    statistics(files, name)["data_path"] = f"{HOMES[0]}data/small.jsonl"


FAULTS: dict[str, tuple[Callable[[Published], Finding | None], Callable[[Files, str], None]]] = {
    "probabilities": (routers.router_outputs, put_probabilities),
    "indices": (routers.router_outputs, put_indices),
    "padding": (routers.padding_counted, put_padding),
    "series": (series.mixed_series, put_series),
    "tie": (maxima.ties, put_tie),
    "sign": (maxima.emergence_by_sign, put_sign),
    "both signs": (maxima.sign_tied, put_both_signs),
    "component": (quantization.other_components, put_component),
    "vision": (coverage.text_alone, put_vision),
    "no gate": (coverage.gates_missing, put_no_gate),
    "rare": (subsets.rarely_reached, put_rare),
    "copy": (series.copies, put_copy),
    "samples": (coverage.other_tokens, put_samples),
    "twice": (coverage.counted_twice, put_twice),
    "layer": (coverage.layers_beyond, put_layer),
    "coarse": (quantization.coarse_thresholds, put_coarse),
    "calibration": (quantization.beyond_calibration, put_calibration),
    "above": (subsets.above_whole, put_above),
    "longer tail": (values.top_lists, put_longer_tail),
    "elsewhere": (maxima.elsewhere, put_elsewhere),
    "common": (maxima.common_massive, put_common),
    "gate": (maxima.gates_above, put_gate),
    "dtype": (values.other_dtype, put_dtype),
    "fault": (faults_of_files, put_fault),
    "limit": (coverage.limit_unreached, put_limit),
    "path": (series.local_paths, put_path),
}


def renamed(files: Files) -> None:
    """Other names of models and folders, in another order."""
    names = {name: f"{'zyxw'[at]}-model" for at, name in enumerate(model.name for model in MODELS)}
    for path in list(files):
        content, name = files.pop(path), None
        text = json.dumps(content).replace('"family": "Small"', '"family": "Series"')
        for old, new in names.items():
            text, name = text.replace(f'"{old}"', f'"{new}"'), name or (old if f"{old}_" in path else None)
        moved = path.replace("Small/", "Series/").replace("Deep/", "Another/")
        files[moved.replace(f"{name}_", f"{names[name]}_") if name else moved] = json.loads(text)


def told(finding: Finding | None) -> str:
    assert finding is not None
    return finding.rows.to_csv()


def test_good_files_have_no_finding(read: Callable[..., Published]) -> None:
    assert [finding.name for finding in audit(read())] == []
    assert [finding.name for finding in audit(read(renamed))] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is_and_under_any_name(fault: str, read: Callable[..., Published]) -> None:
    check, put = FAULTS[fault]
    for at, other in ((A, B), (B, A)):
        found = told(check(read(lambda files, at=at: put(files, at))))
        assert at in found
        assert other not in found.replace(f"{A}, {B}", "") or fault == "vision"
    moved = told(check(read(lambda files: put(files, B), renamed)))
    assert "y-model" in moved
    assert B not in moved


def test_every_check_has_its_fault() -> None:
    tested = {check for check, _ in FAULTS.values()} | {subsets.same_subsets}
    assert tested == set(CHECKS)


def test_subsets_that_two_checkpoints_share_are_told(read: Callable[..., Published]) -> None:
    def change(files: Files) -> None:
        for path in [path for path in files if path.startswith("bootstrap/") and A in path]:
            other = path.replace(A, "small-14b").replace("_r2_", "_r7_").replace("_r0_", "_r7_")
            files[other] = {**json.loads(json.dumps(files[path])), "model_name": "small-14b"}
            files[other.replace("_r7_", "_r8_")] = files[other]
            files[path.replace("_r2_", "_r7_").replace("_r0_", "_r7_")] = files[path]
            files[path.replace("_r2_", "_r8_").replace("_r0_", "_r8_")] = files.pop(path)

    assert f"small-14b, {A}" in told(subsets.same_subsets(read(change)))


def test_what_routers_hold_is_told_from_their_values(read: Callable[..., Published]) -> None:
    finding = routers.router_outputs(read(lambda f: put_indices(f, A), lambda f: put_probabilities(f, B)))
    assert finding is not None
    assert finding.rows[["checkpoint", "field", "holds", "width"]].to_numpy().tolist() == [
        [A, "moe_gate", "indices of experts", EXPERTS],
        [B, "router_logits", "probabilities", EXPERTS],
    ]
    assert routers.router_outputs(read(lambda f: put_router(f, A))) is None  # scores


def test_a_tie_of_components_changes_a_conclusion_and_one_of_layers_a_number(read: Callable[..., Published]) -> None:
    across = maxima.ties(read(lambda f: put_tie(f, A)))
    within = maxima.ties(read(lambda f: site(f, A, "layer_2_hidden").update(max=512.0)))
    assert across is not None
    assert within is not None
    assert (across.severity, within.severity) == (Severity.CONCLUSION, Severity.NUMBER)
    assert within.rows.iloc[0].to_dict() | {"checkpoint": A} == {
        **{"checkpoint": A, "M": 512.0, "first": "layer_1_hidden", "sites": 2, "components": "hidden"},
        **{"bfloat16_spacing": 4.0, "sites_within_one_spacing": 2},
    }


def test_the_spacing_is_that_of_eight_significant_bits() -> None:
    assert [spacing(value) for value in (1.0, 255.0, 256.0, -145408.0, 0.0)] == [2**-7, 1.0, 2.0, 1024.0, 0.0]


def test_the_true_quantile_is_bounded_by_its_bin(read: Callable[..., Published]) -> None:
    finding = quantization.coarse_thresholds(read(lambda f: put_coarse(f, A)))
    assert finding is not None
    row = finding.rows.iloc[0]
    assert (row["bin"], row.largest) == (1, 512.0)
    assert (row.quantile_from, row.quantile_below) == (512 / 2047, 2 * 512 / 2047)
    assert row.expected == pytest.approx(0.1)
    beyond = {"clip_q0.9": {"layer_1_hidden": 512 * 3 / 2047}}
    assert quantization.coarse_thresholds(read(lambda f: quant(f, A)["thresholds"].update(beyond))) is None


def test_the_effect_of_a_checkpoint_in_another_series_is_computed(read: Callable[..., Published]) -> None:
    def deeper(files: Files) -> None:
        for name, size in ((A, 16), (B, 64), ("small-14b", 32)):
            statistics(files, name)["hidden_size"] = size
        put_series(files, "small-14b")

    finding = series.mixed_series(read(deeper))  # 512, 1,024 and 2,048 by size
    assert finding is not None
    assert "M falls from one size to the next at 0 steps with them and at 0 without" in finding.what
    finding = series.mixed_series(read(deeper, lambda f: site(f, "small-14b", "layer_1_hidden").update(max=4.0)))
    assert finding is not None
    assert "at 1 steps with them and at 0 without" in finding.what


def test_readings_are_told_where_the_files_have_what_they_are_about(read: Callable[..., Published]) -> None:
    names = {reading.__name__ for reading in READINGS}
    architectures = {A: "qwen3_5", B: "gpt_oss"}
    every = read(lambda f: [statistics(f, name).update(model_type=kind) for name, kind in architectures.items()])
    assert {finding.name for finding in readings(every)} == names
    who = {finding.name: finding.rows.get("checkpoint") for finding in readings(every)}
    assert [list(who[name]) for name in ("two_kinds_of_attention", "dequantized")] == [[A], [B]]  # type: ignore[arg-type]
    without = read(
        lambda f: [f.pop(path) for path in list(f) if path.startswith(("quant/", "bootstrap/"))],
        lambda f: statistics(f, "deep-4b").update(model_type="gemma"),
    )
    apart = {"consecutive_lines", "without_replacement", "range_for_deviation", "not_what_is_added"}
    apart |= {"two_kinds_of_attention", "dequantized"}
    assert {finding.name for finding in readings(without)} == names - apart


def what(finding: Finding | None) -> str:
    assert finding is not None
    return finding.what


def test_the_sentence_on_missing_gates_is_that_of_their_rows(read: Callable[..., Published]) -> None:
    def routed(files: Files) -> None:
        put_router(files, B)
        for layer in range(3):
            del statistics(files, B)["per_layer_stats"][f"layer_{layer}_mlp_gate"]

    dense = coverage.gates_missing(read(lambda f: put_no_gate(f, A)))
    assert "experts" not in what(dense)
    assert f"Of {A} layers have neither a gate nor a router" in what(dense)
    mixture = coverage.gates_missing(read(routed))
    assert f"Of {B} those layers have a router" in what(mixture)
    assert "neither a gate nor" not in what(mixture)
    both = coverage.gates_missing(read(routed, lambda f: put_no_gate(f, A)))
    assert both is not None
    assert {row["checkpoint"]: (row["router_instead"], row["neither"]) for row in of(both)} == {A: (0, 1), B: (3, 0)}
    assert [found.severity for found in (dense, mixture, both) if found] == [
        Severity.NUMBER,
        Severity.CONCLUSION,
        Severity.CONCLUSION,
    ]


def test_a_layer_beyond_the_decoder_is_told_of_the_checkpoint_that_has_it(read: Callable[..., Published]) -> None:
    assert "beyond" not in what(coverage.counted_twice(read(lambda f: put_twice(f, A), lambda f: put_layer(f, B))))
    both = what(coverage.counted_twice(read(lambda f: put_twice(f, A), lambda f: put_layer(f, A))))
    assert f"Of {A} there is also a layer beyond the decoder; the files do not tell whether it is why" in both
    assert (
        "1 are of layers beyond the decoder, which the tables leave out; 1 were kept"
        in what(  # its largest values are missing
            faults_of_files(read(lambda f: put_layer(f, A)))
        )
    )
    assert "left out; 1 were kept" in what(faults_of_files(read(lambda f: put_twice(f, A))))


def test_only_routers_that_are_faulty_are_described(read: Callable[..., Published]) -> None:
    indices = what(routers.router_outputs(read(lambda f: put_indices(f, A))))
    assert "router_logits" not in indices
    assert "each other" not in indices
    both = what(routers.router_outputs(read(lambda f: put_indices(f, A), lambda f: put_probabilities(f, B))))
    assert f"indices of experts in moe_gate of {A}; probabilities in router_logits of {B}" in both
    assert "router_logits: the second thing that the block of experts returns" in both
    assert "nor with each other" in both


def test_no_cause_of_limits_and_excess_is_told_that_the_files_have_not(read: Callable[..., Published]) -> None:
    assert what(coverage.limit_unreached(read(lambda f: put_limit(f, A)))).endswith("(at most 8 tokens).")
    assert not any(
        digit in what(subsets.above_whole(read(lambda f: put_above(f, A)))) for digit in ("16", " 8", " 1 or")
    )


def test_the_lower_median_is_of_even_sizes(read: Callable[..., Published]) -> None:
    def odd(*names: str) -> Finding | None:
        published = read(lambda f: [statistics(f, name).update(hidden_size=15) for name in names])
        return next((found for found in readings(published) if found.name == "lower_median"), None)

    assert "even in 4 of 4 checkpoints" in what(odd())
    assert "even in 3 of 4 checkpoints" in what(odd(A))
    assert odd(*(model.name for model in MODELS)) is None


def test_subsets_with_M_and_above_it_are_counted_apart(read: Callable[..., Published]) -> None:
    def change(files: Files, *sizes: float) -> None:
        for run, size in zip(runs(files, B), sizes, strict=True):
            run["per_layer_stats"]["layer_1_hidden"].update(max=size, sun_peak_abs=size)

    finding = subsets.rarely_reached(read(lambda f: change(f, 4096.0, 1024.0)))
    assert (
        f"reached in {len(read().bootstrap) - 2} of 4 subsets and exceeded in 1; the others are up to 50.0% lower"
        in what(finding)
    )
    assert finding is not None
    assert finding.severity == Severity.NUMBER
    assert of(finding)[0]["reach_M"] == 0
    assert subsets.rarely_reached(read(lambda f: change(f, 4096.0, 2048.0))) is None  # none is below


def test_whether_a_subset_is_larger_than_the_whole_is_computed(read: Callable[..., Published]) -> None:
    def told_of(*changes: Callable[[Files], Any]) -> str:
        return what(next(found for found in readings(read(*changes)) if found.name == "without_replacement"))

    assert "No subset is larger than the whole" in told_of()
    assert "2 subsets are larger than the whole" in told_of(lambda f: statistics(f, B).update(num_samples=1))


def test_the_step_from_the_embedding_is_counted_apart(read: Callable[..., Published]) -> None:
    def first_layer(files: Files) -> None:
        peak = max(abs(site(files, A, "embedding_output")[end]) for end in ("max", "min"))
        x = site(files, A, "layer_0_hidden")
        x.update(max=16 * peak, sun_peak_abs=16 * peak)
        site(files, A, "layer_1_hidden").update(max=32 * peak, min=-2.0)

    plain = what(maxima.emergence_by_sign(read(lambda f: put_sign(f, B))))
    assert "by |x| 4 checkpoints have one, by the largest x 3." in plain
    assert "by |x| 4 of these checkpoints have one with it" in plain
    further = what(maxima.emergence_by_sign(read(lambda f: put_sign(f, B), first_layer)))
    assert "by |x| 3 checkpoints have one" in further
    assert "by |x| 4 of these checkpoints have one with it" in further


def test_a_range_is_no_deviation(read: Callable[..., Published]) -> None:
    def scatter(files: Files) -> None:
        for at, run in enumerate(runs(files, B)):
            run["per_layer_stats"]["layer_1_hidden"].update(max=2048.0 * (at + 1) / 2)
            run["num_samples"] = 2
        for path in [path for path in files if path.startswith("bootstrap/") and B in path]:
            files[path.replace("_s4_", "_s2_").replace("_r0_", f"_r{len(path)}{path.count('4')}_")] = files.pop(path)

    rows = [row for row in subsets.spread(read(scatter)) if row["checkpoint"] == B]
    assert sum(row["runs"] for row in rows) == 2
    for row in rows:
        if row["runs"] == 2:
            assert row["range_by_mean"] == pytest.approx(2 * 1024 / 3072)
            assert row["deviation_by_mean"] == pytest.approx(2**-0.5 * 1024 / 1536)


def test_the_page_and_the_json_tell_the_same_and_names_stay_text(read: Callable[..., Published]) -> None:
    hostile = "<b>|x`"

    def change(files: Files) -> None:
        put_twice(files, A)
        statistics(files, A)["model_type"] = hostile

    published = read(change)
    data, code = audit(published), readings(published)
    for text in (page_to_markdown(page(data, code)), page_to_html(page(data, code))):
        assert "<b>|" not in text
        assert "&lt;b&gt;" in text
        assert "counted twice" in text
    found = to_json(data, code)
    assert json.loads(canonical(found)) == found
    assert [finding["name"] for finding in found] == [finding.name for finding in (*data, *code)]
    order = [list(Severity).index(finding.severity) for finding in data]
    assert order == sorted(order)
    assert all(finding.source and finding.what for finding in (*data, *code))


def damaged(files: Files, rng: random.Random) -> None:
    """Replace some values anywhere in the files by others."""

    def places(value: Any) -> list[tuple[Any, Any]]:
        inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        return [(value, key) for key, _ in inner] + [place for _, below in inner for place in places(below)]

    for holder, key in rng.sample(places(files), rng.choice([1, 5, 40, 300])):
        holder[key] = rng.choice([None, 0, -1, 0.5, 1e300, 10**30, float("nan"), "x", [], {}, True])


def test_damaged_files_give_findings_and_no_traceback(read: Callable[..., Published]) -> None:
    rng = random.Random(7)
    for _ in range(25):
        try:
            published = read(lambda files: damaged(files, rng))
        except UserError:
            continue
        data, code = audit(published), readings(published)
        assert page_to_markdown(page(data, code))
        canonical(to_json(data, code))
        assert "faults_of_files" in [finding.name for finding in data]


def test_an_empty_set_has_no_finding() -> None:
    empty = Published((), (), (), (), ())
    assert audit(empty) == readings(empty) == []


@pytest.fixture(scope="module")
def real(authors_results: Path) -> dict[str, Finding]:
    published = read_tree(authors_results)
    return {finding.name: finding for finding in (*audit(published), *readings(published))}


def of(finding: Finding, **where: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = finding.rows.to_dict("records")  # type: ignore[assignment]
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def test_the_known_faults_of_the_authors_files_are_found(real: dict[str, Finding]) -> None:
    coarse = real["coarse_thresholds"].rows
    assert coarse["bin"].between(0, 2).all()
    assert (coarse.quantile_from <= coarse.own_quantile).all()
    assert (coarse.own_quantile < coarse.quantile_below).all()
    assert {row["times"] for row in of(real["counted_twice"], site="embedding_output")} == {2}
    assert all(row["checkpoint"].startswith("Ling") for row in of(real["counted_twice"]))
    held = {(row["holds"], row["max"]) for row in of(real["router_outputs"], field="moe_gate")}
    assert ("indices of experts", 255.0) in held
    assert any(holds == "probabilities" and 0.99 < high <= 1 for holds, high in held)
    assert [row["model_type"] for row in of(real["mixed_series"], checkpoint="gemma-2b")] == ["gemma"]
    assert len(of(real["mixed_series"])) == 1
    assert of(real["ties"], checkpoint="gpt-oss-20b")[0]["components"] == "mlp_output, hidden"
    step = of(real["emergence_by_sign"], checkpoint="gpt-oss-20b")[0]
    assert (round(step["step_of_abs"]), step["layer_of_abs"]) == (120, 6)
    assert (round(step["step_of_max"], 1), step["layer_of_max"]) == (7.5, 23)
    assert {"consecutive_lines", "any_script"} <= real.keys()


def test_further_faults_of_the_authors_files_are_found(real: dict[str, Finding]) -> None:
    assert {row["site"].split("_")[1] for row in of(real["layers_beyond"])} == {"20"}
    assert len({row["checkpoint"] for row in of(real["padding_counted"])}) == 7
    larger = [row for row in of(real["above_whole"]) if row["M"] > row["M_of_all"]]
    assert {row["checkpoint"] for row in larger} == {"Qwen3-32B"}
    assert len(of(real["beyond_calibration"])) == 8
    assert [row["checkpoint"] for row in of(real["other_components"])] == ["Qwen3.5-0.8B"]
    assert [row["checkpoint"] for row in of(real["sign_tied"])] == ["Qwen3.5-0.8B"]
    assert {row["checkpoint"] for row in of(real["text_alone"])} == {f"Qwen2.5-VL-{size}B" for size in (3, 7, 32)}
    assert max(row["range_by_mean"] for row in of(real["range_for_deviation"])) == pytest.approx(0.101, abs=5e-4)
    assert [row["checkpoint"] for row in of(real["elsewhere"])] == ["Qwen3.5-0.8B"]
    assert {row["checkpoint"][:7] for row in of(real["common_massive"])} == {"gemma-2", "gemma-3"}
    assert not {"copies", "other_tokens", "gates_above"} & real.keys()
    assert "reached in 10 of 40 subsets and exceeded in 2" in real["rarely_reached"].what
    assert "by |x| 18 checkpoints" in real["emergence_by_sign"].what
    assert "by |x| 23 of these checkpoints" in real["emergence_by_sign"].what
