"""What is measured of a trained model is what a plain forward pass of transformers shows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import perplexity as oracle
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from maxact.checkpoints.load import load_model
from maxact.corpus.packaged_text import build
from maxact.loading_check import choose, perplexity
from maxact.measure.headline import headline
from maxact.measure.run import Sample, measure
from maxact.study import Study

pytestmark = pytest.mark.xdist_group("smollm2")
SENTENCES = [
    "The capital of France is Paris, and that of Italy is Rome.",
    "def add(a, b):\n    return a + b\n",
    "4 + 4 = 8",
]


@pytest.fixture(scope="module")
def plain(smollm2: Path) -> Any:
    """Opened by transformers alone, with none of our checks."""
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.bfloat16, attn_implementation="sdpa").eval()


def test_every_residual_maximum_is_that_of_the_models_own_hidden_states(
    smollm2: Path, smollm2_tokenizer: Tokenizer, plain: Any
) -> None:
    samples = [smollm2_tokenizer.encode(text, add_special_tokens=False).ids for text in SENTENCES]
    found = measure(
        load_model(smollm2),
        [Sample(number, "rest", tuple(ids)) for number, ids in enumerate(samples)],
        ["embedding", "residual", "mlp_output", "attention_output", "final_norm"],
    )
    hidden = []
    with torch.inference_mode():
        for ids in samples:
            states = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            hidden.append([state[0].double() for state in states])
    residual = found.sites[found.sites.component == "residual"].set_index("layer")
    for layer in range(plain.config.num_hidden_layers - 1):  # transformers keeps the last one after the final norm only
        states = [of_sample[layer + 1] for of_sample in hidden]
        assert residual["max"][layer] == max(float(state.max()) for state in states)
        assert residual["min"][layer] == min(float(state.min()) for state in states)
        elements = torch.cat([state.flatten() for state in states])
        assert residual["rms"][layer] == pytest.approx(float(elements.square().mean().sqrt()), rel=1e-9)
        assert residual["abs_median"][layer] == float(elements.abs().sort().values[(len(elements) - 1) // 2])
    M = headline(found)["M"]
    assert M["value"] == max(float(state.abs().max()) for of_sample in hidden for state in of_sample[1:-1])
    place = hidden[M["sample"]][int(residual.peak.idxmax()) + 1]
    assert abs(float(place[M["position"], M["channel"]])) == M["value"] > 1000
    assert M["position"] == 0  # the attention sink


@pytest.fixture(scope="module")
def prose(pocket: Study, smollm2_tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """English prose by the recipe of the pocket study."""
    asked = pocket.corpus
    samples = build(24, asked.seed, {"web": 1, "knowledge": 1}, {512: 1}, asked.wheels, smollm2_tokenizer)
    encoded = [smollm2_tokenizer.encode(sample.text, add_special_tokens=False).ids for sample in samples]
    return [vars(sample) | {"token_ids": ids} for sample, ids in zip(samples, encoded, strict=True)]


@pytest.mark.parametrize("least", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_perplexity_equals_the_loss_that_transformers_gives(
    least: int, smollm2: Path, prose: list[dict[str, Any]], plain: Any, pocket: Study
) -> None:
    """To 1 %, and under the ceiling of the pocket study, which asks for the larger number of tokens."""
    check = pocket.loading_check
    assert least <= check.tokens
    chosen = [row["token_ids"] for row in choose(prose, check.domains, check.language, least)]
    found, tokens = perplexity(load_model(smollm2), chosen)
    with torch.inference_mode():
        losses = [
            float(plain(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)
            for ids in chosen
        ]
    assert tokens == sum(len(ids) - 1 for ids in chosen) >= least
    assert found == pytest.approx(math.exp(math.fsum(losses) / tokens), rel=0.01)
    ceiling = next(item.perplexity_ceiling for item in pocket.checkpoints if not item.planted)
    assert ceiling is not None
    assert found < ceiling
    few = chosen[:1]
    assert perplexity(load_model(smollm2), few)[0] == pytest.approx(oracle.perplexity(plain, few), rel=1e-4)


def test_weights_in_the_wrong_order_are_over_the_ceiling(
    smollm2: Path, prose: list[dict[str, Any]], pocket: Study
) -> None:
    """The mistake of GGUF readers that leave a head's rotary pairs side by side."""
    model = load_model(smollm2)
    for block in model.get_decoder().layers:
        weight = block.self_attn.q_proj.weight.data
        heads = model.config.num_attention_heads
        apart = weight.view(heads, 2, weight.shape[0] // heads // 2, -1).transpose(1, 2).reshape(weight.shape)
        weight.copy_(apart.clone())
    found, _ = perplexity(model, [row["token_ids"] for row in prose[:4]])
    ceiling = next(item.perplexity_ceiling for item in pocket.checkpoints if not item.planted)
    assert ceiling is not None
    assert found > ceiling
