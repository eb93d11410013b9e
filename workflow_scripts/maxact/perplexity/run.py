"""The passes: every sample once as it is and once with each quantizer, unpadded and alone.

Their next-token distributions are compared position by position, a few at a time, and none is kept.

Legend of shapes: T tokens, C channels, V words of the vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from maxact.likelihood import chunks, logits
from maxact.measure.run import deterministic
from maxact.perplexity.plan import Plan
from maxact.sites.find import decoder_of
from maxact.sites.replace import replaced


@dataclass
class Sums:
    """Of all predicted tokens, float64 on the device: negative log-likelihood, and divergence from no quantization."""

    likelihood: Tensor | float = 0.0
    divergence: Tensor | float = 0.0


@dataclass
class Costs:
    """What was found: sums without quantization first, then of each plan."""

    sums: list[Sums]
    tokens: int = 0
    passes: int = 0


def run(model: Any, samples: Sequence[Sequence[int]], plans: Sequence[Plan], title: str | None = None) -> Costs:
    """Pass every sample without quantization, and with each plan.

    Log-likelihoods and divergences of tokens are float32, their sums float64. The first token of a sample is not predicted.

    Args:
        model: a transformers causal language model in evaluation mode.
        title: named before a progress bar on standard error; no bar without it.

    Raises:
        RuntimeError: a site was not reached exactly once in a pass.
    """
    costs = Costs([Sums() for _ in (None, *plans)])
    bar = tqdm(
        total=(1 + len(plans)) * sum(map(len, samples)), unit="tok", unit_scale=True, desc=title,
        disable=title is None, file=sys.stderr, mininterval=1,
    )  # fmt: skip
    with bar, deterministic(), torch.inference_mode():
        for token_ids in samples:
            ids_T = torch.tensor(token_ids, device=model.device)
            states = []
            for how in (None, *plans):
                states.append(_states(model, ids_T, how)[:-1])
                bar.update(len(token_ids))
            costs.passes += len(states)
            costs.tokens += len(ids_T) - 1
            for part in chunks(len(ids_T) - 1):
                _compare(model, [states_TC[part] for states_TC in states], ids_T[1:][part], costs.sums)
    return costs


def _states(model: Any, ids_T: Tensor, how: Plan | None) -> Tensor:
    """The last hidden states [T, C] of one pass."""
    decoder = decoder_of(model)
    if how is None:
        states: Tensor = decoder(input_ids=ids_T[None], use_cache=False).last_hidden_state[0]
        return states
    with replaced(decoder, how.sites, lambda site, x: how.at[site.number](x)) as done:
        states = decoder(input_ids=ids_T[None], use_cache=False).last_hidden_state[0]
    missed = next((site for site in how.sites if done[site.number] != 1), None)
    if missed is not None:
        raise RuntimeError(f"{missed.component}@{missed.layer} was reached {done[missed.number]} times in a pass")
    return states


def _compare(model: Any, states: Sequence[Tensor], target_T: Tensor, sums: Sequence[Sums]) -> None:
    """Add what some positions say, without quantization first."""
    without: tuple[Tensor, Tensor] | None = None  # log-probabilities and probabilities [T, V]
    for states_TC, total in zip(states, sums, strict=True):
        log_TV = torch.log_softmax(logits(model, states_TC), -1)
        total.likelihood -= log_TV.gather(1, target_T.to(log_TV.device)[:, None]).double().sum()
        if without is None:
            without = log_TV, log_TV.exp()
        else:
            total.divergence += torch.linalg.vecdot(without[1], without[0] - log_TV).double().sum()
