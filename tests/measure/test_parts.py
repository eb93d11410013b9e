"""A measurement that is interrupted, or measured in shards, ends in the same bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measure.captured import TOKEN, measured, watched
from measure.hostile import DTYPES, KINDS, samples
from measure.models import tiny
from measure.test_run import drawn

from maxact.errors import UserError
from maxact.measure import run
from maxact.measure.parts import Part, read_part
from maxact.measure.run import Sample, observe
from maxact.measure.tables import tables
from maxact.measurement import Measurement
from maxact.sites.components import COMPONENTS

ALL = list(COMPONENTS)


def table_bytes(measurement: Measurement, folder: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in measurement.write(folder).items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_and_merged_has_the_bytes_of_one_pass(kind: str, dtype: str, tmp_path: Path) -> None:
    seen = samples(kind, dtype, (12, 9), number=3, seed=KINDS.index(kind))
    expected = table_bytes(measured(seen, "numba"), tmp_path / "whole")
    for number, sample in enumerate(seen):
        _, states = watched([sample], "numba")
        Part({}, [sample[0]], states, {0: np.array([number, 1])}).write(tmp_path / f"{number}.npz")
    sites, _ = watched(seen[:1], "numba")
    for order in itertools.permutations(range(3)):
        whole, *others = (read_part(tmp_path / f"{number}.npz") for number in order)
        for other in others:
            whole.merge(other)
        assert table_bytes(tables(sites, whole.states, {TOKEN: "seven"}), tmp_path / "merged") == expected
        assert whole.samples == sorted(sample for sample, _, _ in seen)
        assert whole.expert_tokens[0].tolist() == [3, 3]


class Killed(BaseException):
    """As an interrupt is."""


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gpt_oss"])
def test_an_interrupted_measurement_goes_on_and_ends_in_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SAVE_SECONDS", -1.0)
    given, part = drawn(1, 7), tmp_path / "part.npz"
    expected = observe(tiny(name), given, ALL)
    model: Any = tiny(name)
    inner, calls = model.get_decoder().norm.forward, itertools.count()

    def interrupted(x: torch.Tensor) -> Any:
        if next(calls) == 4:
            raise Killed
        return inner(x)

    model.get_decoder().norm.forward = interrupted
    with pytest.raises(Killed):
        observe(model, given, ALL, unfinished=part)
    assert read_part(part).samples == [sample.sample for sample in given[:4]]
    found = observe(tiny(name), given, ALL, unfinished=part)
    assert found.passes == 3
    assert table_bytes(found.tables(), tmp_path / "a") == table_bytes(expected.tables(), tmp_path / "b")


def test_a_part_of_something_else_or_damaged_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SAVE_SECONDS", -1.0)
    part = tmp_path / "part.npz"
    given = drawn(1, 3)
    changed = [Sample(given[0].sample, given[0].split, (9,)), *given[1:]]
    observe(tiny("llama"), given, ["residual"], unfinished=part)
    assert observe(tiny("llama"), given, ["residual"], unfinished=part).passes == 0
    assert observe(tiny("llama"), changed, ["residual"], unfinished=part).passes == 3
    assert observe(tiny("llama"), given, ["final_norm"], unfinished=part).passes == 3
    part.write_bytes(part.read_bytes()[:-100])
    assert observe(tiny("llama"), given, ["final_norm"], unfinished=part).passes == 3


def test_shards_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    mine = Part({"dtype": "torch.bfloat16"}, [0, 1], {}, {})
    with pytest.raises(UserError, match=r"shards differ in dtype: torch.bfloat16 and torch.float16"):
        mine.merge(Part({"dtype": "torch.float16"}, [2], {}, {}))
    with pytest.raises(UserError, match="sample 1 is in two of them"):
        mine.merge(Part({"dtype": "torch.bfloat16"}, [1, 2], {}, {}))
    with pytest.raises(UserError, match="no such file"):
        read_part(tmp_path / "nothing.npz")
    (tmp_path / "odd.npz").write_text("odd")
    with pytest.raises(UserError, match=r"odd.npz: not a whole shard"):
        read_part(tmp_path / "odd.npz")


def test_writing_leaves_the_old_file_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part.npz"
    Part({}, [1], {}, {}).write(file)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        Part({}, [2], {}, {}).write(file)
    assert read_part(file).samples == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["part.npz"]
