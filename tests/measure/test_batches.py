"""Several samples in a pass: what fills them up is never looked at."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from measure.models import tiny
from measure.test_parts import table_bytes
from measure.test_run import drawn

from maxact.errors import UserError
from maxact.measure import run
from maxact.measure.batches import plan
from maxact.measure.run import Sample, observe
from maxact.sites.components import COMPONENTS


def test_a_budget_is_kept_and_every_sample_is_in_one_pass() -> None:
    given = [Sample(number, "rest", (1,) * length) for number, length in enumerate([3, 9, 1, 30, 4, 9, 2])]
    batches = plan(given, 20)
    assert [[sample.sample for sample in batch] for batch in batches] == [[3], [1, 5], [4, 0, 6, 2]]
    assert plan(given[::-1], 20) == batches
    assert plan(given, None) == [[sample] for sample in given]


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_fill_is_in_no_statistic(name: str, tmp_path: Path) -> None:
    """These small models give a sample the same bits alone and in a batch, so that the tables are the same bytes."""
    given, everything = drawn(7, 9), list(COMPONENTS)
    alone = observe(tiny(name, attention="eager"), given, everything)
    together = observe(tiny(name, attention="eager"), given, everything, batch_tokens=40)
    assert together.passes < alone.passes
    assert table_bytes(together.tables(), tmp_path / "a") == table_bytes(alone.tables(), tmp_path / "b")


@pytest.mark.parametrize("name", ["gemma3:text", "qwen3_5", "gpt_oss"])
def test_a_batch_changes_last_bits_at_most(name: str) -> None:
    given, everything = drawn(7, 9), list(COMPONENTS)
    alone = observe(tiny(name, torch.float32, "eager"), given, everything).tables()
    together = observe(tiny(name, torch.float32, "eager"), given, everything, batch_tokens=40).tables()
    # Not where the extremes are: a token that stands twice in a sample can have the same value but for its last bits.
    values = ["site", "sample", "max", "min"]
    pd.testing.assert_frame_equal(together.samples[values], alone.samples[values], rtol=1e-4, atol=1e-4)
    for table, exact in (("sites", ["tokens", "count"]), ("classes", ["tokens"]), ("experts", ["tokens"])):
        pd.testing.assert_frame_equal(getattr(together, table)[exact], getattr(alone, table)[exact])


class Full:
    """Stands in for a memory that holds so many tokens: raises what torch raises where a pass has more."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.refused: list[int] = []

    def __call__(self, module: object, arguments: object, given: dict[str, torch.Tensor]) -> None:
        if given["input_ids"].numel() > self.tokens:
            self.refused.append(given["input_ids"].numel())
            raise torch.OutOfMemoryError


def test_where_memory_runs_out_all_begins_anew_with_half_the_tokens(tmp_path: Path) -> None:
    given, everything = drawn(7, 9), list(COMPONENTS)
    model = tiny("llama", attention="eager")
    hook, full = model.get_decoder(), Full(20)
    handle = hook.register_forward_pre_hook(full, with_kwargs=True)
    observed = observe(model, given, everything, batch_tokens=64)
    handle.remove()
    assert full.refused
    assert observed.part.about["batch_tokens"] == 16
    asked = observe(tiny("llama", attention="eager"), given, everything, batch_tokens=16)
    assert observed.passes == asked.passes
    assert table_bytes(observed.tables(), tmp_path / "a") == table_bytes(asked.tables(), tmp_path / "b")


def test_what_was_halved_before_an_interruption_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, components, file = drawn(7, 9), ["residual"], tmp_path / "part.npz"
    model = tiny("llama", attention="eager")
    model.get_decoder().register_forward_pre_hook(Full(20), with_kwargs=True)
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    first = observe(model, given, components, batch_tokens=64, unfinished=file)
    again = observe(tiny("llama", attention="eager"), given, components, batch_tokens=64, unfinished=file)
    assert (again.passes, again.part.about) == (0, first.part.about)
    smaller = observe(tiny("llama", attention="eager"), given, components, batch_tokens=9, unfinished=file)
    assert smaller.passes
    assert smaller.part.about["batch_tokens"] == 9


@pytest.mark.parametrize("batch_tokens", [None, 64])
def test_a_sample_that_is_too_long_for_the_memory_is_named(batch_tokens: int | None) -> None:
    model = tiny("llama", attention="eager")
    model.get_decoder().register_forward_pre_hook(Full(6), with_kwargs=True)
    given = [Sample(0, "rest", (1, 2)), Sample(4, "rest", (1,) * 7)]
    with pytest.raises(UserError, match="tokens: sample 4 has 7 tokens, too many for the memory of cpu; shorten it"):
        observe(model, given, ["residual"], batch_tokens=batch_tokens)
