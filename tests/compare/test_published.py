"""`maxact compare` of a published checkpoint with a measurement of the same weights on the same tokens."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from measure.models import tiny
from oracles.authors import activation_stats, top5_stats
from published.stages import published_of
from published.tree import written

from maxact.cli import main

LINES = [[1, 2, 3, 4], [5], [6, 7, 8], [9, 10]]
STATISTICS, TOP = "Tiny/json/Tiny_activation_stats.json", "Tiny/json/Tiny_top5_stats.json"
OF_M = ("embedding_output", "final_layernorm", "hidden", "attn_output", "mlp_output")


def sites_of(model: Any) -> dict[str, list[torch.Tensor]]:
    """What the authors' sites hold, by their names: for each sample [tokens, channels]."""
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)

    def see(name: str) -> Callable[..., None]:
        return lambda module, given, out: seen[name].append((out[0] if isinstance(out, tuple) else out)[0].float())

    decoder = model.model
    modules = {"embedding_output": decoder.embed_tokens, "final_layernorm": decoder.norm}
    for number, layer in enumerate(decoder.layers):
        parts = {
            "attn_output": layer.self_attn,
            "mlp_gate": layer.mlp.gate_proj,
            "mlp_output": layer.mlp,
            "hidden": layer,
        }
        modules |= {f"layer_{number}_{kind}": module for kind, module in parts.items()}
    for name, module in modules.items():
        module.register_forward_hook(see(name))
    with torch.no_grad():
        for line in LINES:
            decoder(input_ids=torch.tensor([line]))
    return seen


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The tables that we measure of a tiny model, and the files that the authors' definitions give of it."""
    folder, model = tmp_path_factory.mktemp("measured"), tiny("qwen2")
    model.save_pretrained(folder / "Tiny")
    (folder / "tokens.jsonl").write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in LINES))
    arguments = ["measure", folder / "Tiny", "--tokens", folder / "tokens.jsonl", "--tables", folder / "tables"]
    assert main([str(argument) for argument in arguments]) == 0
    sites = sites_of(model)
    stats = {name: activation_stats(samples) for name, samples in sites.items()}
    carry = [name for name in sites if name.endswith(OF_M)]
    M, where = max((max(stats[name]["max"], -stats[name]["min"]), name) for name in carry)
    signed = M if stats[where]["max"] == M else -M
    header = {"model_name": "Tiny", "model_path": "/models/Tiny", "model_type": "qwen2", "data_path": "/data/t.jsonl"}
    header |= {"num_hidden_layers": model.config.num_hidden_layers, "hidden_size": model.config.hidden_size}
    header |= {"num_samples": len(LINES), "max_seq_len": 8}
    plain = {name: found if name in carry else dict(list(found.items())[:7]) for name, found in stats.items()}
    told = {"global_max_activation": signed, "global_max_location": f"{where} ({'max' if signed > 0 else 'min'})"}
    tops = {name: top5_stats(sites[name], 20) for name in carry}
    largest = sorted((value for top in tops.values() for value in top["top5_abs"]), reverse=True)[:20]
    top = {
        "global_top5_abs": largest,
        "global_top5_signed": largest,
        "global_top5_abs_mean": sum(largest) / len(largest),
    }
    files = {STATISTICS: {**header, **told, "per_layer_stats": plain}, TOP: {**header, **top, "per_layer_stats": tops}}
    return folder / "tables", files


Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(measured: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Exit code and text of a comparison of the published files, as a test has changed them, with the measurement."""
    tables, files = measured
    config = {
        "study": "theirs",
        "published": {"repository": "someone/results", "commit": "0" * 40, "directory": "results"},
        "families": {"tiny": {"model_type": "qwen2"}},
        "checkpoints": [{"name": "Tiny-base", "family": "tiny", "published_name": "Tiny"}],
        "figures": {"width_inches": 7.0, "font_size": 8.0, "dots_per_inch": 60},
    }

    def compare(*arguments: str, change: Callable[[dict[str, Any]], Any] = lambda sites: None) -> tuple[int, str]:
        changed = json.loads(json.dumps(files))
        change(changed[STATISTICS]["per_layer_stats"])
        manifest, store = published_of(written(tmp_path / "tree", changed), tmp_path)
        file = store.root / "theirs" / "published" / "published.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(manifest.to_json())
        (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(config))
        capsys.readouterr()
        sides = [f"{tmp_path / 'theirs.yaml'}:Tiny-base", str(tables)]
        code = main(["compare", *sides, "--store", str(store.root), *arguments])
        captured = capsys.readouterr()
        return code, captured.err if code == 2 else captured.out

    return compare


def test_what_the_authors_definitions_give_does_not_differ_from_our_measurement(told: Told) -> None:
    code, text = told("--tolerance", "1e-6")
    assert code == 0, text
    assert "0 of 14 sites differ beyond the tolerance" in text
    for statistic in ("peak", "rms", "mean", "quantiles", "massive", "nonfinite"):
        assert f"  {statistic:<13} 0 of " in text
    assert "  distribution  not compared: a side has no value" in text


def test_what_published_files_do_not_say_is_told_and_not_compared(told: Told) -> None:
    code, text = told()
    assert code == 0
    assert "note: median and quantiles of A are right to the width of a bin of the published histograms" in text
    for setting in ("weights", "tokens", "dtype", "attention", "transformers", "measuring code"):
        assert f"note: {setting}: not known of A" in text
    assert "samples are not paired: " in text
    assert "In B only:\n" in text
    assert "down_input at 3 layers: not measured in A" in text
    assert "with --all-sites that is a difference" in text
    assert told("--all-sites")[0] == 1


@pytest.mark.parametrize(
    ("field", "statistic", "site"),
    [
        ("max", "peak", "layer_1_mlp_output"),
        ("rms", "rms", "layer_0_hidden"),
        ("abs_mean", "abs_mean", "layer_2_mlp_gate"),
        ("abs_q99", "quantile_0.99", "final_layernorm"),
    ],
)
def test_a_published_number_that_is_another_is_found_at_its_site(
    told: Told, field: str, statistic: str, site: str
) -> None:
    code, text = told("--json", change=lambda sites: sites[site].update({field: 3 * abs(sites[site][field]) + 1}))
    assert code == 1
    found = json.loads(text)
    beyond = [
        (row["component"], row["layer"], name)
        for row in found["sites"]
        for name, item in row["statistics"].items()
        if item["beyond"]
    ]
    component = {"layer_1_mlp_output": "mlp_output", "layer_0_hidden": "residual", "layer_2_mlp_gate": "gate"}
    layer = int(site.split("_")[1]) if site.startswith("layer") else None
    assert beyond == [(component.get(site, "final_norm"), layer, statistic)]


def test_a_site_that_the_files_lack_is_no_difference_but_for_a_gate(told: Told) -> None:
    def without(sites: dict[str, Any]) -> None:
        del sites["layer_1_hidden"]

    code, text = told(change=without)
    assert code == 0
    assert "residual@1: missing (Tiny/json/Tiny_activation_stats.json lacks the site) in A" in text
    assert told("--all-sites", change=without)[0] == 1


def test_a_checkpoint_that_could_not_be_read_is_one_line(told: Told) -> None:
    code, text = told(change=lambda sites: sites.clear())
    assert code == 2
    assert text.count("\n") == 1
    assert "no site has a value on both sides" in text or "have no 'Tiny' that could be read" in text
