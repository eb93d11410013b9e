"""A stored measurement comes back as it was written, in files that depend on nothing but the tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from measure.captured import measured
from measure.hostile import samples
from measure.models import tiny

from maxact.measure.run import Sample, measure
from maxact.measurement import SCHEMAS, TOKEN_CLASSES, Measurement, read_table
from maxact.sites.components import PAPER

TABLES = list(SCHEMAS)


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    model = tiny("qwen3_moe:dense_layer")
    with torch.no_grad():
        model.get_decoder().embed_tokens.weight[5] = torch.inf
    given = [Sample(0, "calibration", (1, 2, 3)), Sample(1, "rest", (5, 5)), Sample(2, "evaluation", (4,))]
    return measure(model, given, list(PAPER), {1: "one", 2: 'a "b"\n<c>|'})


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_stored_with_the_declared_types(measurement: Measurement, table: str, tmp_path: Path) -> None:
    file = measurement.write(tmp_path)[f"{table}.parquet"]
    stored = pq.read_schema(file)
    assert {name: stored.field(name).type for name in stored.names} == {
        column.name: column.type for column in SCHEMAS[table]
    }
    assert stored.names == SCHEMAS[table].names


@pytest.mark.parametrize("table", TABLES)
def test_what_is_read_is_what_was_written(measurement: Measurement, table: str, tmp_path: Path) -> None:
    read = getattr(Measurement.read(measurement.write(tmp_path)), table)
    texts = {column.name: "str" for column in SCHEMAS[table] if pa.types.is_string(column.type)}
    pd.testing.assert_frame_equal(read, getattr(measurement, table).astype(texts), check_dtype=False)


def test_writing_what_was_read_gives_the_same_bytes(measurement: Measurement, tmp_path: Path) -> None:
    first = measurement.write(tmp_path / "first")
    second = Measurement.read(first).write(tmp_path / "second")
    assert {name: file.read_bytes() for name, file in first.items()} == {
        name: file.read_bytes() for name, file in second.items()
    }


def test_missing_numbers_are_null_and_infinite_ones_are_not(tmp_path: Path) -> None:
    nothing = measured(samples("nothing finite", "bfloat16", (3, 4), 2, 0), "numba")
    row = pq.read_table(nothing.write(tmp_path)["sites.parquet"]).to_pylist()[0]
    assert [row[name] for name in ("max", "mean", "peak", "peak_sample", "abs_median")] == [None] * 5
    zeros = measured([(0, "rest", torch.zeros(2, 3, dtype=torch.bfloat16))], "numba")
    row = pq.read_table(zeros.write(tmp_path)["sites.parquet"]).to_pylist()[0]
    assert (row["massive_max_ratio"], row["max"], row["nonfinite_sample"]) == (float("inf"), 0.0, None)


def test_whole_numbers_that_may_be_missing_stay_whole(measurement: Measurement, tmp_path: Path) -> None:
    sites = read_table(measurement.write(tmp_path)["sites.parquet"])
    assert str(sites["layer"].dtype) == "Int16"
    assert sites[sites.component == "embedding"].layer.isna().all()


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_sorted_by_their_key(measurement: Measurement, table: str) -> None:
    key = {
        "sites": ["site"], "histograms": ["site", "split", "code"], "samples": ["site", "sample"],
        "channels": ["site", "channel"], "top": ["site", "rank"], "experts": ["layer", "expert"],
        "classes": ["site", "token_class"],
    }[table]  # fmt: skip
    frame = getattr(measurement, table)
    assert len(frame) or table == "experts"
    if table == "classes":  # in the order of TOKEN_CLASSES
        frame = frame.assign(token_class=frame.token_class.map(TOKEN_CLASSES.index))
    pd.testing.assert_frame_equal(frame, frame.sort_values(key, ignore_index=True))
    assert not frame.duplicated(key).any()


def test_every_integer_column_holds_its_range() -> None:
    """Narrow types are chosen on purpose; a code needs all of uint16."""
    assert SCHEMAS["histograms"].field("code").type == pa.uint16()
