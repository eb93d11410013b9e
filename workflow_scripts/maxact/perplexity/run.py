"""The passes: every sample once as it is and once with each quantizer, unpadded and alone.

Their next-token distributions are compared position by position, a few at a time, and none is kept.

Legend of shapes: T tokens, V words of the vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from maxact.errors import UserError
from maxact.likelihood import Decoded, chunks, decoded, logits
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
        UserError: nothing is predicted.
    """
    costs = Costs([Sums() for _ in (None, *plans)])
    bar = tqdm(
        total=(1 + len(plans)) * sum(map(len, samples)), unit="tok", unit_scale=True, desc=title,
        disable=title is None, file=sys.stderr, mininterval=1,
    )  # fmt: skip
    with bar, deterministic(), torch.inference_mode():
        for token_ids in samples:
            ids_T = torch.tensor(token_ids, device=model.device)
            passed = []
            for how in (None, *plans):
                passed.append(_passed(model, ids_T, how))
                bar.update(len(token_ids))
            costs.passes += len(passed)
            costs.tokens += len(ids_T) - 1
            for part in chunks(len(ids_T) - 1):
                _compare(model, passed, part, costs.sums)
    if not costs.tokens:
        raise UserError(
            f"{title or 'perplexity'}: no token is predicted, as each of the {len(samples)} samples of the evaluation "
            "split has one token; give longer ones (corpus) or more (tokens.splits.evaluation, perplexity.samples)"
        )
    return costs


def _passed(model: Any, ids_T: Tensor, how: Plan | None) -> Decoded:
    if how is None:
        return decoded(model, ids_T)
    with replaced(decoder_of(model), how.sites, lambda site, x: how.at[site.number](x)) as done:
        sample = decoded(model, ids_T)
    missed = next((site for site in how.sites if done[site.number] != 1), None)
    if missed is not None:
        raise RuntimeError(f"{missed.component}@{missed.layer} was reached {done[missed.number]} times in a pass")
    return sample


def _compare(model: Any, passed: Sequence[Decoded], part: slice, sums: Sequence[Sums]) -> None:
    """Add what some positions say, without quantization first."""
    without: tuple[Tensor, Tensor] | None = None  # log-probabilities and probabilities [T, V]
    for sample, total in zip(passed, sums, strict=True):
        log_TV = torch.log_softmax(logits(model, sample, part), -1)
        target_T = sample.ids_T[1:][part].to(log_TV.device)
        total.likelihood -= log_TV.gather(1, target_T[:, None]).double().sum()
        if without is None:
            without = log_TV, log_TV.exp()
        else:
            total.divergence += torch.linalg.vecdot(without[1], without[0] - log_TV).double().sum()
