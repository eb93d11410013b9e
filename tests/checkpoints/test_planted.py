"""A planted peak is exactly what its plan says: value, sign, component, layer, channel, token, and the one largest.

The truth is taken from the model with hooks written here, in bfloat16 and in float64, not with the measuring code.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from maxact.checkpoints.folder import folder_digest
from maxact.checkpoints.load import load_model
from maxact.checkpoints.planted.build import build
from maxact.checkpoints.planted.gadgets import weight_to_read
from maxact.checkpoints.planted.registry import PLANTED
from maxact.errors import UserError
from maxact.study import Peak

VOCABULARY, CONTEXT, TOKENS = 300, 200, 120
WITHOUT_GATE = ("qwen3_moe", "gpt_oss")
COMPONENTS = ("embedding", "attention_output", "mlp_output", "residual", "final_norm")
VALUES = (12288.0, 10048.0, -12288.0, 3008.0, 1520.0, 65280.0, -1040.0)


@dataclass(frozen=True)
class Plan:
    architecture: str
    layers: int
    seed: int
    token: int
    peak: Peak


def draw(seed: int) -> Plan:
    chance = random.Random(seed)
    architecture = list(PLANTED)[seed % len(PLANTED)]
    component: Any = chance.choice(COMPONENTS if architecture in WITHOUT_GATE else [*COMPONENTS, "gate"])
    layers = chance.randint(1, 5)
    layer = None if component in ("embedding", "final_norm") else chance.randrange(layers)
    width = (32 if architecture == "qwen3_5_moe" else 128) if component == "gate" else 64
    peak = Peak(component=component, layer=layer, channel=chance.randrange(width), value=chance.choice(VALUES))
    return Plan(architecture, layers, seed, chance.randrange(VOCABULARY), peak)


def capture(model: Any, ids: list[int]) -> dict[tuple[str, int | None], torch.Tensor]:
    """What every component gives, by hooks on the modules of transformers, float64 [tokens, channels]."""
    seen: dict[tuple[str, int | None], torch.Tensor] = {}

    def keep(name: str, layer: int | None) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            seen[name, layer] = tensor.reshape(-1, tensor.shape[-1]).double()

        return hook

    base = model.get_decoder()
    base.embed_tokens.register_forward_hook(keep("embedding", None))
    base.norm.register_forward_hook(keep("final_norm", None))
    for number, layer in enumerate(base.layers):
        layer.register_forward_hook(keep("residual", number))
        attention = layer.linear_attn if hasattr(layer, "linear_attn") else layer.self_attn
        attention.register_forward_hook(keep("attention_output", number))
        layer.mlp.register_forward_hook(keep("mlp_output", number))
        gated = getattr(layer.mlp, "shared_expert", layer.mlp)
        if hasattr(gated, "gate_proj"):
            gated.gate_proj.register_forward_hook(keep("gate", number))
    with torch.inference_mode():
        base(input_ids=torch.tensor([ids]), use_cache=False)
    return seen


@pytest.mark.parametrize("seed", range(44))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_planted_peak_is_exact_and_the_one_largest(seed: int, dtype: torch.dtype, tmp_path: Path) -> None:
    plan = draw(seed)
    peak = plan.peak
    build(plan.architecture, plan.layers, plan.seed, peak, plan.token, VOCABULARY, CONTEXT, tmp_path)
    model = load_model(tmp_path, expected_model_type=plan.architecture).to(dtype)
    if hasattr(model.get_decoder().layers[0].mlp, "experts") and dtype == torch.float64:
        model.set_experts_implementation("eager")  # the grouped matrix product has no float64
    chance = random.Random(1000 + seed)
    ids = [chance.choice([token for token in range(VOCABULARY) if token != plan.token]) for _ in range(TOKENS)]
    position = chance.randrange(TOKENS)
    ids[position] = plan.token
    seen = capture(model, ids)
    planted = seen[peak.component, peak.layer]
    # In bfloat16 the value is exact; in float64 nothing is rounded on the way, so it is near.
    tolerance = 0 if dtype == torch.bfloat16 else abs(peak.value) / 128
    assert abs(float(planted[position, peak.channel]) - peak.value) <= tolerance
    rivals = {key: x for key, x in seen.items() if (peak.component == "gate") == (key[0] == "gate")}
    largest = sorted(float(value) for x in rivals.values() for value in x.abs().flatten().topk(2).values)[-2:]
    assert largest[1] == abs(float(planted[position, peak.channel]))
    assert largest[0] < largest[1]


def test_the_same_plan_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    peak = Peak(component="residual", layer=1, channel=3, value=12288.0)
    digests = []
    for number, seed in enumerate([7, 7, 8]):
        build("qwen3_moe", 2, seed, peak, 5, VOCABULARY, CONTEXT, tmp_path / str(number))
        digests.append(folder_digest(tmp_path / str(number)))
    assert digests[0] == digests[1] != digests[2]


REFUSED = {
    "layer": (Peak(component="residual", layer=2, channel=3, value=12288.0), "layers 0 to 1"),
    "channel": (Peak(component="residual", layer=1, channel=64, value=12288.0), "channels 0 to 63"),
    "inexact": (Peak(component="residual", layer=1, channel=3, value=12289.0), "not exact in bfloat16"),
    "small": (Peak(component="residual", layer=1, channel=3, value=512.0), "must be above 1024"),
    "not finite": (Peak(component="residual", layer=1, channel=3, value=float("inf")), "not exact in bfloat16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_peak_that_cannot_be_planted_is_refused(case: str, tmp_path: Path) -> None:
    peak, expected = REFUSED[case]
    with pytest.raises(UserError, match=expected):
        build("qwen2", 2, 0, peak, 5, VOCABULARY, CONTEXT, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gate_among_experts_and_an_unknown_architecture_are_refused(tmp_path: Path) -> None:
    peak = Peak(component="gate", layer=0, channel=3, value=12288.0)
    with pytest.raises(UserError, match="gate does not exist in qwen3_moe"):
        build("qwen3_moe", 2, 0, peak, 5, VOCABULARY, CONTEXT, tmp_path)
    with pytest.raises(UserError, match="'gpt2': nothing plants into it"):
        build("gpt2", 2, 0, peak, 5, VOCABULARY, CONTEXT, tmp_path)


def test_a_weight_is_found_that_reads_to_the_target() -> None:
    for reading in (8.0, 7.9375, 1.328125, 0.1259765625):
        for target in (1.0, 16.0, 32.0, 128.0):
            assert float((weight_to_read(reading, target).double() * reading).to(torch.bfloat16)) == target
