"""Files without a fault, and each fault put into the files of one model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from maxact.published.audit.finding import Finding
from maxact.published.audit.quantization import BINS
from maxact.published.audit.series import HOMES
from published.tree import EXPERTS, Model, made, means

Files = dict[str, Any]


MODELS = (
    Model("Small", "small-1b", quant=True, bootstrap=True),
    Model("Small", "small-7b", M=2048.0, quant=True, bootstrap=True),
    Model("Small", "small-14b", M=1024.0, quant=True),
    Model("Deep", "deep-4b", "gemma3", M=200704.0, at="layer_3_hidden", layers=4),
)


A, B = "small-1b", "small-7b"


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


def what(finding: Finding | None) -> str:
    assert finding is not None
    return finding.what


def of(finding: Finding, **where: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = finding.rows.to_dict("records")  # type: ignore[assignment]
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def put_saturated(files: Files, name: str) -> None:
    metric = next(metric for metric in quant(files, name)["metrics"] if metric["policy"] == "max_abs")
    scale(metric, "rel_mae", 0.97)


def put_shorter(files: Files, name: str) -> None:
    quant(files, name)["max_seq_len"] = 4


def scale(metric: Files, measure: str, to: float) -> None:
    """Other errors of the same tensor: all of them are larger or smaller by what brings one of them to a value."""
    factor = to / metric[measure]
    metric.update({error: factor * metric[error] for error in ("mae", "rmse", "rel_mae", "rel_rmse")})
    metric["sqnr_db"] = -20 * math.log10(metric["rel_rmse"])


def without_fault() -> Files:
    """Subsets hold the sample with M, and not the same ones of two checkpoints; errors are a quarter of the tensor."""
    files = made(MODELS)
    for path in [path for path in files if path.startswith("bootstrap/")]:
        M = next(model.M for model in MODELS if model.name == files[path]["model_name"])
        other = "_r0_" if files[path]["model_name"] == A else "_r2_"
        if files[path]["global_max_activation"] != M or other in path:
            del files[path]
    assert sum(path.startswith("bootstrap/") for path in files) == 4
    found = [content for path, content in files.items() if path.endswith("_quant_sanity.json")]
    for run in found:
        for metric in run["metrics"]:
            scale(metric, "rel_rmse", 0.25)
    files["quant/quant_sanity_summary.json"] = [row for run in found for row in means(run)]
    return files
