"""Several samples in a pass: what fills them up is never looked at."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from measure.models import tiny
from measure.test_parts import table_bytes
from measure.test_run import drawn

from maxact.measure.run import Sample, observe, plan
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


@pytest.mark.parametrize("name", ["gemma3:text", "qwen3_5"])
def test_a_batch_changes_last_bits_at_most(name: str) -> None:
    given, everything = drawn(7, 9), list(COMPONENTS)
    alone = observe(tiny(name, torch.float32, "eager"), given, everything).tables()
    together = observe(tiny(name, torch.float32, "eager"), given, everything, batch_tokens=40).tables()
    pd.testing.assert_frame_equal(together.samples, alone.samples, rtol=1e-4, atol=1e-4)
    for table, exact in (("sites", ["tokens", "count"]), ("classes", ["tokens"]), ("experts", ["tokens"])):
        pd.testing.assert_frame_equal(getattr(together, table)[exact], getattr(alone, table)[exact])
