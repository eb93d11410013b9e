"""A small tree of result files in the authors' schema, computed from made-up tensors; no number is theirs.

`made(models)` gives the files' contents by path, to be altered by a test, and `written` writes them. Each model has three
layers of 16 channels and 40 tokens in five samples, bfloat16 values, and one element of a chosen size at a chosen site.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from oracles.authors import activation_stats, top5_stats

HIDDEN, EXPERTS, SAMPLES, TOKENS, TOP = 16, 8, 5, 8, 20


@dataclass(frozen=True)
class Model:
    """What the files of one model are to say."""

    series: str
    name: str
    model_type: str = "qwen2"
    M: float = 512.0
    at: str = "layer_1_hidden"
    layers: int = 3
    router: bool = False
    """Whether layers have a router (`moe_gate`) in place of a dense gate."""
    quant: bool = False
    bootstrap: bool = False


MODELS = (
    Model("Small", "small-1b", quant=True, bootstrap=True),
    Model("Small", "small-7b", M=-2048.0, quant=True),
    Model("Small-it", "small-1b-it", M=544.0),
    Model("Routed", "routed-8b", "qwen3_moe", M=96.0, at="final_layernorm", router=True, quant=True),
    Model("Deep", "deep-4b", "gemma3", M=200704.0, at="layer_3_hidden", layers=4, bootstrap=True),
)


def made(models: tuple[Model, ...] = MODELS) -> dict[str, Any]:
    """Every file of these models: its content by its path."""
    files: dict[str, Any] = {}
    for model in models:
        tensors = _tensors(model)
        folder = f"{model.series}/json/{model.name}"
        files[f"{folder}_activation_stats.json"] = statistics(model, tensors, list(range(SAMPLES)))
        files[f"{folder}_top5_stats.json"] = _top(model, tensors)
        if model.quant:
            files[f"quant/{model.name}_quant_sanity.json"] = _quant(model, tensors)
        for size in (2, 4) if model.bootstrap else ():
            for repetition in range(3):
                drawn = sorted(torch.randperm(SAMPLES, generator=_seed(f"{size} {repetition}"))[:size].tolist())
                path = f"bootstrap/{model.name}_s{size}_r{repetition}_activation_stats.json"
                files[path] = statistics(model, tensors, drawn)
    runs = [content for path, content in files.items() if path.startswith("quant/")]
    if runs:
        files["quant/quant_sanity_summary.json"] = [row for run in runs for row in means(run)]
    return files


def written(folder: Path, files: dict[str, Any]) -> Path:
    """Write the files under `folder`; a content that is a text is written as it is."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def statistics(model: Model, tensors: dict[str, list[torch.Tensor]], drawn: list[int]) -> dict[str, Any]:
    """The `*_activation_stats.json` of a model on some of its samples."""
    sites = {}
    for site, samples in tensors.items():
        found = {name: float(value) for name, value in activation_stats([samples[at] for at in drawn]).items()}
        sites[site] = found if _of_M(site) else dict(list(found.items())[:7])
    extremes = [(site, which, sites[site][which]) for site in sites if _of_M(site) for which in ("max", "min")]
    site, which, value = max(extremes, key=lambda one: abs(one[2]))
    return {
        **_header(model, len(drawn)),
        "global_max_activation": value,
        "global_max_location": f"{site} ({which})",
        "per_layer_stats": sites,
    }


def _header(model: Model, samples: int) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_path": f"/models/{model.name}",
        "model_type": model.model_type,
        "num_hidden_layers": model.layers,
        "hidden_size": HIDDEN,
        "data_path": f"/data/{model.series.lower()}.jsonl",
        "num_samples": samples,
        "max_seq_len": TOKENS,
    }


def _tensors(model: Model) -> dict[str, list[torch.Tensor]]:
    """Values by site in the authors' order: [tokens, channels] for each sample."""
    sites = ["embedding_output"]
    for layer in range(model.layers):
        gate = "moe_gate" if model.router else "mlp_gate"
        sites += [f"layer_{layer}_{kind}" for kind in ("attn_output", gate, "mlp_output", "hidden")]
    sites.append("final_layernorm")
    tensors = {site: _drawn(f"{model.name} {site}", EXPERTS if site.endswith("moe_gate") else HIDDEN) for site in sites}
    tensors[model.at][2][3, 5] = model.M
    return tensors


def _drawn(name: str, channels: int) -> list[torch.Tensor]:
    generator = _seed(name)
    scale = 0.5 + torch.rand(1, generator=generator).item()
    drawn = [torch.randn(TOKENS, channels, generator=generator) * scale for _ in range(SAMPLES)]
    return [x.to(torch.bfloat16).float() for x in drawn]


def _seed(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def _of_M(site: str) -> bool:
    return not site.endswith(("mlp_gate", "moe_gate", "router_logits"))


def _top(model: Model, tensors: dict[str, list[torch.Tensor]]) -> dict[str, Any]:
    sites = {site: top5_stats(samples, TOP) for site, samples in tensors.items() if _of_M(site)}
    pairs = [pair for found in sites.values() for pair in zip(found["top5_abs"], found["top5_signed"], strict=True)]
    pairs = sorted(pairs, reverse=True)[:TOP]
    return {
        **_header(model, SAMPLES),
        "global_top5_abs": [size for size, _ in pairs],
        "global_top5_signed": [signed for _, signed in pairs],
        "global_top5_abs_mean": sum(size for size, _ in pairs) / len(pairs),
        "per_layer_stats": sites,
    }


def _quant(model: Model, tensors: dict[str, list[torch.Tensor]]) -> dict[str, Any]:
    """Thresholds of the first three samples, errors on the other two."""
    samples = tensors[model.at]
    calibration, evaluation = torch.cat(samples[:3]).double(), torch.cat(samples[3:]).double()
    largest = calibration.abs().max().item()
    clipped = calibration.abs().flatten().sort().values[int(0.9 * calibration.numel())].item()
    thresholds = {"max_abs": {model.at: largest}, "clip_q0.9": {model.at: clipped}}
    return {
        "model_name": model.name,
        "family": model.series,
        "role": "tier",
        "model_path": f"/models/{model.name}",
        "data_path": f"/data/{model.series.lower()}.jsonl",
        "bits": 8,
        "clip_quantile": 0.9,
        "calibration_samples": 3,
        "eval_samples": 2,
        "max_seq_len": TOKENS,
        "layer_policy": "peak",
        "selected_layers": [model.at],
        "reference_global_max_abs": abs(model.M),
        "reference_global_max_location": f"{model.at} ({'max' if model.M > 0 else 'min'})",
        "thresholds": thresholds,
        "metrics": [
            {"layer": model.at, "policy": policy, **_errors(evaluation, by_site[model.at])}
            for policy, by_site in sorted(thresholds.items())
        ],
    }


def _errors(x: torch.Tensor, threshold: float) -> dict[str, float]:
    scale = threshold / 127
    error = (x.clamp(-threshold, threshold) / scale).round() * scale - x
    mae, rmse = error.abs().mean().item(), error.square().mean().sqrt().item()
    rel_rmse = rmse / x.square().mean().sqrt().item()
    return {
        "count": x.numel(),
        "mae": mae,
        "rmse": rmse,
        "rel_mae": mae / x.abs().mean().item(),
        "rel_rmse": rel_rmse,
        "sqnr_db": -20 * torch.tensor(rel_rmse, dtype=torch.float64).log10().item(),
        "clip_rate": (x.abs() > threshold).double().mean().item(),
    }


def means(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the summary for one run."""
    return [
        {
            **{key: run[key] for key in ("model_name", "family", "role")},
            "policy": metric["policy"],
            "reference_global_max_abs": run["reference_global_max_abs"],
            **{f"mean_{name}": metric[name] for name in ("rel_rmse", "rel_mae", "clip_rate", "sqnr_db")},
            "layers": 1,
        }
        for metric in run["metrics"]
    ]


def study(models: tuple[Model, ...] = MODELS) -> dict[str, Any]:
    """A study of these models, as a user writes it."""
    families = {model.series.lower(): {"model_type": model.model_type} for model in models}
    return {
        "study": "made",
        "published": {"repository": "someone/results", "commit": "0" * 40, "directory": "results"},
        "families": families,
        "checkpoints": [
            {"name": model.name, "family": model.series.lower(), "role": "main", "billions": 1.0} for model in models
        ],
        "comparisons": {
            "scaling": {"small": ["small-1b", "small-7b"]},
            "base_vs_instruct": {"small": ["small-1b", "small-1b-it"]},
        },
        "figures": {"width_inches": 7.0, "font_size": 8.0, "dots_per_inch": 60},
    }
