"""The stage `evaluate` on tiny models: what its hooks add up is what plain hooks catch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from measure.models import tiny
from oracles.granularities import errors
from oracles.quantize import finite_values
from quantize.measured import outputs_of

from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.quantize.evaluate import begun, error_rows, evaluate, protection_rows
from maxact.quantize.evaluation import Seen
from maxact.quantize.protection import PROTECTION, largest_channels, protections
from maxact.quantize.row_kernel import CompiledKernel, RowKernel, TorchKernel
from maxact.quantize.stage import SCHEMA
from maxact.quantize.ways import GRANULARITIES, Way, ways
from maxact.sites.components import COMPONENTS
from maxact.sites.find import Place, Site, find_sites

WAYS = ways(["int8", "int4_asymmetric", "fp8_e4m3", "mxfp4", "nvfp4"], GRANULARITIES)
SAMPLES = [
    Sample(0, "calibration", tuple(range(5, 40))),
    Sample(1, "evaluation", tuple(range(60, 4, -3))),
    Sample(2, "evaluation", (8,)),
    Sample(3, "rest", (9, 4, 4)),
    Sample(4, "evaluation", tuple(range(50))),
]
EVALUATION = [sample for sample in SAMPLES if sample.split == "evaluation"]


def evaluated(
    model: torch.nn.Module, found: Measurement, samples: list[Sample] = EVALUATION, kernel: RowKernel | None = None
) -> dict[int, Seen]:
    sites = find_sites(model.get_decoder(), list(COMPONENTS))  # type: ignore[operator]
    seen = begun(sites, found.sites, found.channels, WAYS, [1, 8])
    evaluate(model, samples, seen, WAYS, kernel=kernel)
    return seen


@pytest.mark.parametrize("name", ["gemma2", "qwen3_5_moe", "gpt_oss"])
def test_every_16_bit_site_sees_the_evaluation_split(name: str) -> None:
    """The counts are those of the measurement, also inside experts; torch and compiled loops give the same errors."""
    model = tiny(name)
    found = measure(model, SAMPLES, list(COMPONENTS))
    seen, plain = evaluated(model, found), evaluated(model, found, kernel=TorchKernel(WAYS))
    measured = found.sites[(found.sites.status == "measured") & (found.sites.dtype != "float32")]
    assert list(seen) == measured.site.tolist()
    stored = found.histograms[found.histograms.split == 1]
    for number, item in seen.items():
        expected = np.zeros(65536, np.int64)
        rows = stored[stored.site == number]
        expected[rows.code] = rows["count"]
        assert item.sums.counts.tolist() == expected.tolist()
        np.testing.assert_allclose(item.sums.errors_W2, plain[number].sums.errors_W2, rtol=1e-12)
        assert item.sums.clipped_W.tolist() == plain[number].sums.clipped_W.tolist()
        assert {key: value.tolist() for key, value in item.protected.items()} == {
            key: value.tolist() for key, value in plain[number].protected.items()
        }


def test_errors_are_those_of_tensors_caught_by_plain_hooks() -> None:
    model = tiny("llama")
    found = measure(model, SAMPLES, list(COMPONENTS))
    seen = evaluated(model, found)
    decoder = model.get_decoder()
    caught: list[torch.Tensor] = []
    for sample in EVALUATION:
        caught += outputs_of(decoder, ["layers.1.mlp"], torch.tensor([sample.token_ids]))["layers.1.mlp"]
    item = next(item for item in seen.values() if (item.site.component, item.site.layer) == ("mlp_output", 1))
    x = finite_values(caught).double()
    for row, way in zip(error_rows(item, WAYS), WAYS, strict=True):
        both = [errors(tensor[0].float().numpy(), way, item.calibration.channel_C) for tensor in caught]
        squared = math.fsum(one[1] for one in both)
        assert row["elements"] == len(x)
        assert row["rmse"] == pytest.approx(math.sqrt(squared / len(x)), rel=1e-12)
        assert row["mae"] == pytest.approx(math.fsum(one[0] for one in both) / len(x), rel=1e-12)
        assert row["relative_rmse"] == pytest.approx(math.sqrt(squared / float((x**2).sum())), rel=1e-12)
        assert row["clip_rate"] == sum(one[2] for one in both) / len(x)


def protected_error(tensors: list[torch.Tensor], kept: list[torch.Tensor], format: str) -> dict[str, float]:
    """The threshold is the largest |x| of what is not kept; kept elements have no error."""
    rest = torch.cat([x[~keep] for x, keep in zip(tensors, kept, strict=True)]).float()
    threshold = float(rest.abs().max()) if len(rest) else 0.0
    scale = np.float32(threshold) / np.float32({"int8": 127, "fp8_e4m3": 448}[format])
    squared, power, count = 0.0, 0.0, 0
    for x, keep in zip(tensors, kept, strict=True):
        values = x.float()
        y = (values / float(scale)).clamp(-threshold / float(scale), threshold / float(scale))
        if format == "int8":
            made = y.round().clamp(-127, 127) * float(scale)
        else:
            made = y.clamp(-448, 448).to(torch.float8_e4m3fn).float() * float(scale)
        made = torch.where(keep, values, made)
        squared += float((made.double() - values.double()).square().sum())
        power, count = power + float(values.double().square().sum()), count + x.numel()
    return {"threshold": threshold, "rmse": math.sqrt(squared / count), "sqnr_db": 10 * math.log10(power / squared)}


def test_protected_elements_have_no_error_and_do_not_set_the_threshold() -> None:
    model = tiny("llama")
    found = measure(model, SAMPLES, list(COMPONENTS))
    seen = evaluated(model, found)
    item = next(item for item in seen.values() if (item.site.component, item.site.layer) == ("residual", 2))
    names = ["layers.2"]
    tensors = [
        outputs_of(model.get_decoder(), names, torch.tensor([sample.token_ids]))["layers.2"][0].squeeze(0)
        for sample in EVALUATION
    ]
    largest_C = found.channels[found.channels.site == item.site.number].abs_max_calibration.to_numpy(np.float64)
    order = sorted(range(len(largest_C)), key=lambda channel: (-largest_C[channel], channel))
    kept = {
        "nothing": [torch.zeros_like(x, dtype=torch.bool) for x in tensors],
        "first token": [(torch.arange(len(x)) == 0)[:, None].expand_as(x) for x in tensors],
        "1 channel": [torch.isin(torch.arange(x.shape[1]), torch.tensor(order[:1])).expand_as(x) for x in tensors],
        "8 channels": [torch.isin(torch.arange(x.shape[1]), torch.tensor(order[:8])).expand_as(x) for x in tensors],
    }
    rows = list(protection_rows(item, {"formats": ["int8", "mxfp4", "fp8_e4m3"]}))
    assert [(row["format"], row["protected"]) for row in rows] == [
        (format, name) for format in ("int8", "fp8_e4m3") for name in kept
    ]
    for row in rows:
        for name, value in protected_error(tensors, kept[row["protected"]], row["format"]).items():
            assert row[name] == pytest.approx(value, rel=1e-6), row
        share = sum(int(keep.sum()) for keep in kept[row["protected"]]) / sum(x.numel() for x in tensors)
        assert row["share"] == pytest.approx(share)


def counted(x: torch.Tensor) -> np.ndarray:
    return np.bincount(x.view(torch.int16).numpy().view(np.uint16).ravel(), minlength=65536)


def test_protection_of_all_of_nothing_and_of_what_is_not_finite() -> None:
    x = torch.tensor([[1.0, 3.0], [math.inf, math.nan]]).bfloat16()
    row, all_kept = protections(counted(x), {"first token": counted(x[:1])}, "bfloat16", ["int8"])
    assert (row["threshold"], row["elements"], row["share"]) == (3.0, 2, 0.0)
    assert (all_kept["rmse"], all_kept["share"], math.isnan(all_kept["sqnr_db"])) == (0.0, 1.0, True)
    no_value = list(protections(np.zeros(65536, np.int64), {}, "bfloat16", ["int8"]))
    assert math.isnan(no_value[0]["rmse"])
    zeros = list(protections(counted(torch.zeros(3).bfloat16()), {}, "bfloat16", ["int8"]))
    assert (zeros[0]["rmse"], math.isnan(zeros[0]["relative_rmse"])) == (0.0, True)


def test_the_largest_channels_are_the_first_of_equal_ones_and_those_without_a_value_the_last() -> None:
    assert largest_channels(np.array([1.0, np.nan, 3.0, 3.0, 0.0]), 4).tolist() == [2, 3, 0, 4]
    assert largest_channels(np.array([1.0]), 8).tolist() == [0]


def one_site(channel_C: list[float], wanted: tuple[Way, ...]) -> Seen:
    site = Site(0, "residual", 0, Place(torch.nn.Identity()))
    return Seen.of(site, "bfloat16", np.array(channel_C, np.float32), wanted, [1])


def test_an_empty_split_and_missing_calibration_have_no_errors() -> None:
    wanted = ways(["int8", "nvfp4"], ["channel", "token"])
    nothing_seen = list(error_rows(one_site([1.0, 2.0], wanted), wanted))
    assert [row["elements"] for row in nothing_seen] == [0, 0, 0]
    assert all(math.isnan(row["rmse"]) for row in nothing_seen)
    item = one_site([math.nan, math.nan], wanted)
    item.sums.counts[0x3F80] = 4
    known = {row["granularity"]: math.isnan(row["rmse"]) for row in error_rows(item, wanted)}
    assert known == {"channel": True, "token": False, "block": True}


def test_a_channel_without_a_scale_leaves_the_site_without_an_error_by_channel() -> None:
    wanted = ways(["int8", "nvfp4"], ["channel", "token"])
    x = torch.tensor([[3.0, 0.0], [1.0, 0.5]]).bfloat16()
    for second, undefined in [(0.0, True), (math.nan, True), (0.5, False)]:
        item = one_site([3.0, second], wanted)
        CompiledKernel(wanted).add(item.sums, x, item.calibration)
        by_channel, *others = error_rows(item, wanted)
        names = ("mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate")
        assert [math.isnan(by_channel[name]) for name in names] == [undefined] * 6
        assert by_channel["elements"] == 4
        assert not any(math.isnan(row["rmse"]) for row in others)


def test_no_samples_run_nothing() -> None:
    model = tiny("llama")
    found = measure(model, SAMPLES[:1], list(COMPONENTS))
    assert not any(item.sums.counts.any() for item in evaluated(model, found, []).values())


def test_a_model_with_other_sites_than_the_measurement_is_refused() -> None:
    model = tiny("llama")
    found = measure(model, SAMPLES, ["residual", "final_norm"])
    with pytest.raises(RuntimeError, match="was another"):
        evaluated(model, found)
    with pytest.raises(RuntimeError, match="lacks sites"):
        begun([], found.sites, found.channels, WAYS, [1])


def test_tables_have_the_schemas_that_are_stored(tmp_path: Path) -> None:
    model = tiny("qwen3_moe")
    found = measure(model, SAMPLES, list(COMPONENTS))
    seen = evaluated(model, found)
    frame = pd.DataFrame([row for item in seen.values() for row in error_rows(item, WAYS)], columns=SCHEMA.names)
    assert len(frame) == len(seen) * len(WAYS)
    table = pa.Table.from_pandas(frame, SCHEMA, preserve_index=False)
    assert table["scale"].null_count == len(table)
    rows = [row for item in seen.values() for row in protection_rows(item, {"formats": ["int8"]})]
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows), PROTECTION, preserve_index=False), tmp_path / "x.parquet")
