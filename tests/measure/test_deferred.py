"""The kernel for GPUs waits for the device once a pass: shown on CPU by the operations that it calls, on CUDA in test_gpu.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from measure.hostile import DTYPES
from measure.models import tiny
from measure.test_run import drawn
from torch.utils._python_dispatch import TorchDispatchMode

from maxact.measure.deferred import SCANNED, DeferredKernel, launch
from maxact.measure.rows import Rows
from maxact.measure.run import Watch
from maxact.measure.state import SiteState
from maxact.sites.components import PAPER
from maxact.sites.find import find_sites

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "bincount",
    "unique",
    "is_nonzero",
    "equal",
    "item",
    "tolist",
)
"""Operations whose result decides what the host does next, or how large a tensor is."""


class Called(TorchDispatchMode):
    """Keeps the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        self.names.append(function._schema.name.removeprefix("aten::"))
        return function(*arguments, **(keywords or {}))


def rows(tokens: int) -> Rows:
    zeros = np.zeros(tokens, np.int64)
    return Rows(0, "rest", np.arange(tokens), zeros, zeros)


@pytest.mark.parametrize("dtype", DTYPES)
def test_looking_at_a_tensor_waits_for_nothing(dtype: str) -> None:
    x_RC = torch.randn(9, 130).to(getattr(torch, dtype))
    kernel, state = DeferredKernel(), SiteState(dtype, 130)
    with Called() as called:
        kernel.add(state, rows(9), x_RC)
    assert called.names
    assert not [name for name in called.names if name.startswith(WAITS)]
    assert state.rows == 0
    kernel.settle()
    assert state.rows == 9
    assert state.counts.sum() == 0
    kernel.flush()
    kernel.flush()
    assert state.counts.sum() == x_RC.numel()


def test_waiting_would_be_seen() -> None:
    with Called() as called:
        torch.ones(3).nonzero()
        float(torch.ones(3).sum())
    assert {name for name in called.names if name.startswith(WAITS)} == {"nonzero", "_local_scalar_dense"}


def test_the_shapes_of_what_is_fetched_do_not_depend_on_values() -> None:
    plain = torch.zeros(5, 40, dtype=torch.bfloat16)
    odd = torch.full((5, 40), float("nan"), dtype=torch.bfloat16)
    shapes = [[part.shape for part in launch(x)] for x in (plain, odd)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == SCANNED


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3:text", "qwen3_5"])
def test_no_hook_of_the_papers_components_waits_in_a_pass(name: str) -> None:
    """Compared with the bare pass, whose own operations may wait."""
    model, (sample, *_) = tiny(name), drawn(5, 1)
    decoder, given = model.get_decoder(), torch.tensor([sample.token_ids])
    counts = []
    for watched in (False, True):
        watch = Watch(find_sites(decoder, list(PAPER)) if watched else [], "deferred")
        with watch, torch.inference_mode():
            watch.begin(sample)
            with Called() as called:
                decoder(input_ids=given, use_cache=False)
            watch.end()
        counts.append(sum(name.startswith(WAITS) for name in called.names))
    assert counts[0] == counts[1]
