"""What a job needs follows from its checkpoint's shape; a study may say better; nothing of it decides a result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from maxact.needs.jobs import COUNTERS, Needs, needs_of
from maxact.needs.lookup import OF_CHECKPOINTS, Lookup
from maxact.needs.passes import TOKENS
from maxact.needs.shapes import shape_of
from maxact.recipes import jobs, recipes
from maxact.stages import STAGES
from maxact.study import Study
from maxact.study.shape import Shape

REPOSITORY = Path(__file__).parents[2]

QWEN_32B = Shape(
    parameters=32_763_876_352, layers=64, hidden_size=5120, heads=40, key_value_heads=8, head_size=128,
    intermediate_size=27648, experts=0, experts_per_token=0, expert_size=0, vocabulary=152064,
)  # fmt: skip
MIXTURE = Shape(
    parameters=30_532_122_624, layers=48, hidden_size=2048, heads=32, key_value_heads=4, head_size=128,
    intermediate_size=0, experts=128, experts_per_token=8, expert_size=768, vocabulary=151936,
)  # fmt: skip


def paper(**changes: Any) -> Study:
    """The paper's study, with other keys for its checkpoint Qwen2.5-32B, or others of `resources`."""
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    config["checkpoints"][2] |= {"resources": changes.pop("checkpoint", {})}
    config |= changes
    return Study.model_validate(config)


def needed(study: Study, stage: str = "measure", shape: Shape | None = QWEN_32B, **change: Any) -> Needs:
    return needs_of(study, stage, study.checkpoint("Qwen2.5-32B"), shape, next(iter(change.items()), None))


def test_the_formula_is_as_documented() -> None:
    """By hand: 65.5 GB of weights, 15 sites a layer, 4,096 x 1.3 tokens of which the widest site has 27,648 channels."""
    study = paper()
    found = needed(study)
    absent = {"expert_gate", "expert_down_input", "router_logits", "embedding", "final_norm"}
    sites = 64 * len(set(study.measure.components) - absent) + 2
    weights, counters = 2 * 32_763_876_352, sites * COUNTERS
    tokens = 1.3 * 4096
    once = tokens * (27648 * 96 + (12 * 5120 + 4 * 27648) * 2)
    assert found.gpus == 2 == -(-(weights + counters) // int(0.92 * 80e9 - once))
    assert found.gpu_memory_gb == pytest.approx(((weights + counters) / 2 + once) / 0.92 / 1e9)
    assert found.memory_gb == pytest.approx((4 + (weights + counters) / 1e9) * 1.5 + 0.7)
    corpus = 5000 * sum(n * w for n, w in study.corpus.lengths.items()) / 100  # type: ignore[union-attr]
    a_token = 64 * (7 * 5120 + 2 * 5120 + 2 * 1024 + 2 * 27648)
    seconds = 120 + weights / 0.3e9 + 1.3 * corpus * (2 * 32_763_876_352 / 1e14 + a_token / 1e9)
    assert found.expected_minutes == pytest.approx(seconds / 60, rel=1e-6)
    assert found.minutes == pytest.approx(2 * found.expected_minutes, abs=1)


def test_a_mixture_holds_all_experts_and_multiplies_with_few() -> None:
    dense, mixture = needed(paper()), needed(paper(), shape=MIXTURE)
    assert mixture.memory_gb > 0.9 * dense.memory_gb
    few = needed(paper(), "loading_check", MIXTURE).expected_minutes
    assert few < needed(paper(), "loading_check").expected_minutes


def test_a_variant_needs_what_its_own_setting_takes() -> None:
    study = paper()
    plain = needed(study, "variant")
    assert needed(study, "variant", dtype="float32").memory_gb > 1.8 * plain.memory_gb - 8
    assert needed(study, "variant", attention="eager").gpu_memory_gb > plain.gpu_memory_gb + 8
    assert needed(study, "variant", batch_tokens=16384).gpu_memory_gb > plain.gpu_memory_gb
    assert needed(study, "variant", special_tokens="bos") == plain


def test_larger_devices_are_fewer_devices() -> None:
    assert needed(paper(resources={"gpu_memory_gb": 40.0})).gpus > needed(paper()).gpus
    assert needed(paper(checkpoint={"gpu_memory_gb": 141.0})).gpus == 1


def test_a_study_says_better() -> None:
    own = {"gpus": 4, "memory_gb": 7.5, "minutes": 33, "disk_gb": 12.0}
    study = paper(checkpoint=own)
    for stage in TOKENS:
        for shape in (QWEN_32B, None):
            found = needed(study, stage, shape)
            assert (found.gpus, found.memory_gb, found.minutes) == (4, 7.5, 33)
    assert needed(study).gpu_memory_gb < needed(paper()).gpu_memory_gb
    assert needed(study, "checkpoint").disk_gb == 12.0
    other = needs_of(study, "measure", study.checkpoint("Qwen2.5-7B"), QWEN_32B)
    assert other == needed(paper())


def test_what_is_not_known_is_given_what_the_study_says() -> None:
    unknown = {"gpus": 3, "memory_gb": 9.0, "minutes": 77, "disk_gb": 5.0}
    found = needed(paper(resources={"unknown": unknown}), shape=None)
    assert (found.gpus, found.memory_gb, found.minutes, found.known) == (3, 9.0, 77, False)
    assert needed(paper(resources={"unknown": unknown}), "checkpoint", None).disk_gb == 5.0


def test_on_cpu_no_job_asks_for_a_gpu(pocket: Study) -> None:
    assert {needs.gpus for _, _, _, needs in Lookup(pocket, Path("none")).every()} == {0}


def test_a_job_that_is_tried_again_gets_more_memory_and_time() -> None:
    needs = Needs(gpus=2, memory_gb=10.0, minutes=60, disk_gb=1.5)
    assert needs.resources() == {"gpu": 2, "mem_mb": 10_000, "runtime": 60, "disk_mb": 1500}
    assert needs.resources(3) == {"gpu": 2, "mem_mb": 20_000, "runtime": 180, "disk_mb": 1500}


def sharded(study: Study, shards: int) -> Study:
    checkpoints = [item.model_copy(update={"shards": shards}) for item in study.checkpoints]
    return Study(**{**dict(study), "checkpoints": checkpoints})


def test_shards_share_the_samples_and_leave_the_probe_to_the_job_that_joins_them(pocket: Study) -> None:
    whole, joined, part = needed(paper()), needed(sharded(paper(), 4)), needed(sharded(paper(), 4), "shard")
    assert joined.expected_minutes < part.expected_minutes < whole.expected_minutes
    assert (whole.gpus, whole.memory_gb) == (joined.gpus, joined.memory_gb) == (part.gpus, part.memory_gb)
    apart = sharded(pocket, 3)
    name = apart.checkpoints[0].name
    assert (
        Lookup(apart, Path("nowhere")).of("shard", f"{name}.2of3").known
        == Lookup(pocket, Path("nowhere")).of("measure", name).known
    )


def test_every_stage_that_opens_weights_says_how_many_tokens_it_passes(pocket: Study) -> None:
    """So that a new stage cannot ask for too little without anybody noticing."""
    opening = {
        job.stage for job in jobs(sharded(pocket, 2)) if "*.safetensors" in STAGES[job.stage].uses.get("checkpoint", ())
    }
    assert opening == set(TOKENS)


def test_every_job_of_a_study_is_looked_up(pocket: Study) -> None:
    pocket = sharded(pocket, 2)
    every = list(Lookup(pocket, Path("none")).every())
    assert len(every) == len(list(jobs(pocket)))
    named = {stage for stage, name, _, _ in every if any(name.startswith(item.name) for item in pocket.checkpoints)}
    assert named - {"tokens"} == set(OF_CHECKPOINTS)
    assert {own for stage, _, own, _ in every if stage == "variant"} == set(pocket.sensitivity.checkpoints)  # type: ignore[union-attr]


def test_resources_are_in_no_recipe() -> None:
    plain, other = (
        [(job.name, recipe) for job, recipe in recipes(study, REPOSITORY / "envs")]
        for study in (paper(), paper(checkpoint={"gpus": 4, "minutes": 5}, resources={"gpu_memory_gb": 24.0}))
    )
    assert plain == other


def test_a_shape_in_a_pin_is_in_no_recipe() -> None:
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    found = []
    for shape in (None, MIXTURE.model_dump()):
        for source in (config["checkpoints"][0]["source"], config["tokenizers"]["llama-2"]):
            source["pin"] = {"commit": "0" * 40, "licence": "mit", "files": {}, "shape": shape}
        found.append([recipe for _, recipe in recipes(Study.model_validate(config), REPOSITORY / "envs")])
    assert found[0] == found[1]


def test_what_the_rules_import_is_light() -> None:
    heavy = "[name for name in ('torch', 'pandas', 'numba', 'transformers') if name in sys.modules]"
    script = f"import sys, maxact.needs.lookup; sys.exit(repr({heavy}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_headers_of_large_repositories_are_parameters() -> None:
    assert shape_of({"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}, 124_439_808) == Shape(
        parameters=124_439_808, layers=12, hidden_size=768, heads=12, key_value_heads=12, head_size=64,
        intermediate_size=3072, experts=0, experts_per_token=0, expert_size=0, vocabulary=50257,
    )  # fmt: skip


def test_no_attempt_asks_for_more_than_the_machines_have() -> None:
    lookup = Lookup(paper(resources={"most_minutes": 100, "most_memory_gb": 70.0}), Path("none"))
    for attempt in (1, 2, 5):
        asked = lookup.asked("measure", "Qwen2.5-32B", attempt)
        assert asked["runtime"] == 100
        assert asked["mem_mb"] == (64_000 if attempt == 1 else 70_000)


def test_searching_for_scales_takes_longer_and_is_no_matter_of_memory() -> None:
    plain = paper()
    asked = plain.model_dump()["evaluate"]
    one, searched = (
        paper(evaluate={**asked, "formats": ["nvfp4"], "policies": policies}) for policies in (["max"], ["max", "mse"])
    )
    few, more = needed(one, "evaluate"), needed(searched, "evaluate")
    a_token = 64 * (7 * 5120 + 2 * 5120 + 2 * 1024 + 2 * 27648)
    seconds = 15 * 2.3 * 1.3 * TOKENS["evaluate"](one) * a_token / 1e9
    assert 60 * (more.expected_minutes - few.expected_minutes) == pytest.approx(seconds, rel=1e-6)
    assert more.memory_gb == few.memory_gb


def test_a_quantizer_that_searches_takes_longer_than_one_that_does_not() -> None:
    section = {"tensors": ["down_input"], "samples": 64}
    plain, searched = (
        paper(perplexity={**section, "quantizers": [{"format": "mxfp4", "policy": policy}]})
        for policy in ("max", "mse")
    )
    before, after = needed(plain, "perplexity"), needed(searched, "perplexity")
    elements = 1.3 * TOKENS["perplexity"](plain) / 2 * 64 * 27648
    assert 60 * (after.expected_minutes - before.expected_minutes) == pytest.approx(2 * 5 * elements / 1e9, rel=1e-6)
    assert before.expected_minutes < needed(paper(), "perplexity").expected_minutes
    assert after.memory_gb == before.memory_gb
    assert after.gpus * after.gpu_memory_gb > before.gpus * before.gpu_memory_gb


def test_smoothing_holds_what_layers_are_given_and_runs_them_again() -> None:
    plain = paper()
    asked = {**plain.model_dump()["evaluate"], "smooth": {"alphas": [0.5, 0.8], "samples": 64}}
    with_s, fewer = paper(evaluate=asked), paper(evaluate={**asked, "smooth": {"alphas": [0.5], "samples": 64}})
    before, few, after = (needed(study, "evaluate") for study in (plain, fewer, with_s))
    # Two norms of 64 layers, 16 bits of 5,120 channels, of 64 samples.
    held = 2 * 64 * 5120 * 2 * TOKENS["evaluate"](paper(evaluate={**asked, "smooth": None})) * 64 / 256 / 1e9
    assert after.memory_gb - before.memory_gb >= held
    assert before.minutes <= few.minutes <= after.minutes
    # They are multiplied with weights, not scanned: 96 samples scanned at every granularity take most of the time.
    assert after.expected_minutes < 2 * before.expected_minutes
