"""Logits are those of the model's own forward, whatever its head does, some positions at a time."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sites.architectures import NAMES, NOT_BUILT, build
from torch import Tensor

from maxact.errors import UserError
from maxact.likelihood import Decoded, chunks, decoded, logits
from maxact.sites.find import decoder_of, find_sites

IDS_T = torch.tensor([3, 11, 7, 20, 11, 2, 9, 40, 5, 33, 8, 1])

FACTORS = {"final_logit_softcapping": 2.0, "logits_scaling": 3.0, "lm_head_multiplier": 0.5, "logit_scale": 0.3}
"""What heads do beside a product: set to what makes a difference, wherever an architecture has it."""

MORE_THAN_A_MATRIX = ("bert", "cohere", "falcon_h1", "gemma2", "granite", "modernbert-decoder", "minicpm3")
HEAD_INSIDE = "llama4_text"
"""Its decoder returns logits."""


def small(name: str) -> Any:
    model = build(name)
    for holder in (model.config, model.config.get_text_config(), model, decoder_of(model)):
        for factor, value in FACTORS.items():
            if hasattr(holder, factor):
                with suppress(AttributeError):  # computed from others
                    setattr(holder, factor, value)
    return model


def both(model: Any) -> tuple[Tensor, Decoded]:
    """The logits [T, V] of the whole model, and its decoder's pass."""
    with torch.inference_mode():
        torch.manual_seed(0)
        whole = model(input_ids=IDS_T[None], use_cache=False).logits[0].float()
        torch.manual_seed(0)
        return whole, decoded(model, IDS_T)


def assert_equal(model: Any) -> None:
    whole, sample = both(model)
    everything, first, last = slice(0, len(IDS_T)), slice(0, 5), slice(5, len(IDS_T))
    with torch.inference_mode():
        assert torch.equal(logits(model, sample, everything), whole)
        parts = torch.cat([logits(model, sample, part) for part in (first, last)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=0.02 * float(whole.abs().max()))
    again, _ = both(model)
    assert torch.equal(again, whole)  # the decoder is what it was


@pytest.mark.parametrize("name", ["llama", HEAD_INSIDE, *MORE_THAN_A_MATRIX])
def test_logits_are_those_of_the_whole_model(name: str) -> None:
    model = small(name)
    assert_equal(model)
    if name in MORE_THAN_A_MATRIX:
        whole, sample = both(model)
        with torch.inference_mode():
            product = sample.output.last_hidden_state[0] @ model.get_output_embeddings().weight.T
        assert not torch.allclose(product.float(), whole, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_every_architecture_are_those_of_the_whole_model(name: str) -> None:
    if name in NOT_BUILT:
        pytest.skip(NOT_BUILT[name])
    try:
        model = small(name)
    except Exception as error:
        pytest.skip(f"no small model could be built: {error}")
    try:
        find_sites(decoder_of(model), ["residual"])
    except UserError as error:
        pytest.skip(f"nothing of it is measured: {error}")
    assert_equal(model)


def test_chunks_are_all_positions_in_order() -> None:
    for positions in (0, 1, 127, 128, 129, 300):
        covered = [position for part in chunks(positions) for position in range(part.start, part.stop)]
        assert covered == list(range(positions))


def test_a_model_that_does_not_call_its_decoder_is_an_error() -> None:
    model = small("llama")
    with torch.inference_mode():
        sample = decoded(model, IDS_T)
        model.forward = lambda **_: SimpleNamespace(logits=torch.zeros(1, 2, 96))
        with pytest.raises(RuntimeError, match="LlamaModel was called 0 times for logits"):
            logits(model, sample, slice(0, 2))


def test_a_head_that_takes_more_than_the_last_hidden_states_is_refused() -> None:
    model = small("prophetnet")
    with torch.inference_mode():
        sample = decoded(model, IDS_T)
        with pytest.raises(
            UserError, match=r"prophetnet: .* last_hidden_state_ngram .*; leave the checkpoint out"
        ) as told:
            logits(model, sample, slice(0, 11))
    assert "\n" not in str(told.value)
