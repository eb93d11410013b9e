"""Which samples go through the model together, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from maxact.measure.watch import Sample


def plan(samples: Sequence[Sample], batch_tokens: int | None) -> list[list[Sample]]:
    """The samples of each pass: one, or as many as fit into the budget, of like length."""
    if batch_tokens is None:
        return [[sample] for sample in sorted(samples, key=lambda item: item.sample)]
    batches: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda item: (-len(item.token_ids), item.sample)):
        # The first of a batch is its longest.
        if batches and len(batches[-1][0].token_ids) * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches


def model_inputs(batch: Sequence[Sample], device: Any) -> dict[str, torch.Tensor]:
    """Token ids, filled up on the right with id 0, and a mask where there is fill."""
    width = max(len(sample.token_ids) for sample in batch)
    ids = [[*sample.token_ids, *[0] * (width - len(sample.token_ids))] for sample in batch]
    inputs = {"input_ids": torch.tensor(ids, device=device)}
    if len(batch) > 1:
        mask = [[1] * len(sample.token_ids) + [0] * (width - len(sample.token_ids)) for sample in batch]
        inputs["attention_mask"] = torch.tensor(mask, device=device)
    return inputs
