"""What only a GPU can show. `make gpu-checks` runs these; on a machine without one they are skipped and say so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from measure.captured import measured
from measure.hostile import DTYPES, KINDS, samples
from measure.models import MODELS, tiny
from quantize.test_blocks import KINDS as TENSORS
from quantize.test_row_kernel import CLIPPED, EVERY, calibrations, summed, typed
from quantize.test_smoothed import TRIED, drawn, smoothed

from maxact import devices
from maxact.checkpoints.load import gpu_names, load_model
from maxact.checkpoints.planted.build import build
from maxact.loading_check import perplexity
from maxact.measure.headline import headline
from maxact.measure.kernels import KERNELS
from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.perplexity.plan import Histograms, plan
from maxact.perplexity.run import run
from maxact.quantize.blocks import by_channel, fake_quantize
from maxact.quantize.evaluate import begun, evaluate
from maxact.quantize.row_kernel import CompiledKernel, TorchKernel
from maxact.quantize.smoothed import Behind, errors_of
from maxact.quantize.tensors import LINEAR_INPUTS
from maxact.quantize.ways import GRANULARITIES, ways
from maxact.sites.components import PAPER
from maxact.sites.find import find_sites
from maxact.study import Planted, Study

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU (make gpu installs its CUDA build)"),
]

SAMPLES = [
    Sample(0, "rest", tuple(range(5, 40))),
    Sample(1, "calibration", (8,)),
    Sample(2, "evaluation", tuple(range(60, 4, -3))),
]
MARKER = 7
"""Stands once, in the first sample."""


@pytest.fixture(autouse=True)
def _bits_that_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", devices.WORKSPACE)


def table_bytes(measurement: Measurement, folder: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in measurement.write(folder).items()}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_on_cuda_has_the_statistics_of_the_same_on_cpu(
    kind: str, dtype: str, kernel: str, tmp_path: Path
) -> None:
    seen = samples(kind, dtype, (17, 64), number=4, seed=KINDS.index(kind))
    moved = [(sample, split, x_TC.cuda()) for sample, split, x_TC in seen]
    on_cuda = table_bytes(measured(moved, kernel), tmp_path / "cuda")
    assert on_cuda == table_bytes(measured(seen, kernel), tmp_path / "cpu")


@pytest.mark.parametrize("name", MODELS)
def test_a_measurement_on_cuda_has_the_same_bytes_twice(name: str, tmp_path: Path) -> None:
    first, second = (
        table_bytes(measure(tiny(name).cuda(), SAMPLES, list(PAPER)), tmp_path / folder) for folder in "ab"
    )
    assert first == second


def test_a_planted_peak_is_exact_on_cuda(pocket: Study, tmp_path: Path) -> None:
    checked = 0
    for checkpoint in pocket.checkpoints:
        if isinstance(checkpoint.source, Planted):
            model_type = pocket.families[checkpoint.family].model_type
            peak, folder = checkpoint.source.peak, tmp_path / checkpoint.name
            build(model_type, checkpoint.source.layers, checkpoint.source.seed, peak, MARKER, 300, 200, folder)
            model = load_model(folder, device="cuda")
            M = headline(measure(model, SAMPLES, list(PAPER)))["M"]
            assert SAMPLES[0].token_ids.index(MARKER) == 2
            assert (M["signed"], M["component"], M["layer"], M["channel"], M["sample"], M["position"]) == (
                peak.value, peak.component, peak.layer, peak.channel, 0, 2,
            ), checkpoint.name  # fmt: skip
            checked += 1
    assert checked


def test_a_trained_checkpoint_peaks_where_it_does_on_cpu(smollm2: Path) -> None:
    ids = Sample(0, "rest", tuple(range(1000, 1200)))
    found = {device: load_model(smollm2, device=device) for device in ("cpu", "cuda")}
    M = {device: headline(measure(model, [ids], list(PAPER)))["M"] for device, model in found.items()}
    place = ("component", "layer", "channel", "sample", "position")
    assert [M["cuda"][key] for key in place] == [M["cpu"][key] for key in place]
    assert M["cuda"]["signed"] == pytest.approx(M["cpu"]["signed"], rel=0.02)
    on_cuda, on_cpu = (perplexity(found[device], [ids.token_ids])[0] for device in ("cuda", "cpu"))
    assert on_cuda == pytest.approx(on_cpu, rel=0.05)
    assert gpu_names(found["cuda"]) != []


def test_perplexity_with_quantized_inputs_is_nearly_that_on_cpu_and_the_same_twice(smollm2: Path) -> None:
    ids = list(range(1000, 1200))
    found: dict[str, list[list[float]]] = {"cpu": [], "cuda": []}
    for device in ("cpu", "cuda", "cuda"):
        model = load_model(smollm2, device=device)
        seen = measure(model, [Sample(0, "calibration", tuple(ids))], list(LINEAR_INPUTS))
        known = Histograms.of(seen.sites, seen.histograms)
        asked = [("int8", "tensor", "max"), ("int8", "token", "max"), ("nvfp4", "block", "max")]
        plans = [
            plan(
                model.get_decoder(),
                {"format": format, "granularity": granularity, "policy": policy, "components": LINEAR_INPUTS},
                known,
            )
            for format, granularity, policy in asked
        ]
        assert [len(how.sites) for how in plans] == [120] * 3
        sums = run(model, [ids], plans).sums
        found[device].append([float(sums[0].likelihood), *(float(item.likelihood) for item in sums[1:])])
    assert found["cuda"][0] == found["cuda"][1]
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", TENSORS)
def test_errors_of_shared_scales_on_cuda_are_those_on_cpu(kind: str, dtype: torch.dtype) -> None:
    """The definitions on the device against the compiled loops, up to the rounding of sums."""
    for channels in (40, 130):
        x = typed(kind, channels, dtype)
        for calibration in calibrations(x):
            every = (*EVERY, *CLIPPED)
            on_cuda = summed(TorchKernel(every), [x.cuda(), x[:2].cuda()], calibration, every)
            on_cpu = summed(CompiledKernel(every), [x, x[:2]], calibration, every)
            np.testing.assert_allclose(on_cuda.errors_W2, on_cpu.errors_W2, rtol=1e-12)
            assert on_cuda.clipped_W.tolist() == on_cpu.clipped_W.tolist()
            assert on_cuda.counts.tolist() == on_cpu.counts.tolist()


@pytest.mark.parametrize("kind", TENSORS)
def test_elements_reconstructed_on_cuda_have_the_bits_of_those_on_cpu(kind: str) -> None:
    for way in (*EVERY, *CLIPPED):
        x, granularity = typed(kind, 130, torch.bfloat16), None if way.format.block else way.granularity
        if granularity == "channel":
            largest_C = torch.nan_to_num(x.float().abs().amax(0), posinf=0)
            on_cuda, on_cpu = by_channel(x.cuda(), way.format, largest_C.cuda()), by_channel(x, way.format, largest_C)
        else:
            on_cuda, on_cpu = (fake_quantize(y, way.format, granularity, None, way.policy) for y in (x.cuda(), x))
        torch.testing.assert_close(on_cuda.cpu().view(torch.int32), on_cpu.view(torch.int32), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["normal", "a massive channel", "zeros"])
def test_what_smoothing_reaches_on_cuda_is_what_it_reaches_on_cpu(kind: str) -> None:
    x, w = drawn(kind)
    how, largest = smoothed(x, w, 0.5), float(x.abs().max())
    found = {
        device: list(errors_of(Behind(x.float().to(device), w.float().to(device), largest), TRIED, how))
        for device in ("cpu", "cuda")
    }
    told = ("relative_rmse", "output_relative_rmse", "clip_rate")
    for on_cuda, on_cpu in zip(found["cuda"], found["cpu"], strict=True):
        assert [on_cuda[name] for name in told] == pytest.approx([on_cpu[name] for name in told], rel=1e-4), on_cpu


def test_evaluating_on_cuda_has_the_same_bits_twice() -> None:
    model = tiny("llama").cuda()
    found = measure(model, SAMPLES, list(PAPER))
    wanted = ways(["int8", "mxfp4", "nvfp4"], GRANULARITIES)
    sums = []
    for _ in range(2):
        seen = begun(find_sites(model.get_decoder(), list(PAPER)), found.sites, found.channels, wanted, [1])
        evaluate(model, [sample for sample in SAMPLES if sample.split == "evaluation"], seen, wanted)
        sums.append({number: item.sums.errors_W2.tobytes() for number, item in seen.items()})
    assert sums[0] == sums[1]


def test_a_process_sees_the_one_device_that_it_has_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXACT_GPU_LOCKS", str(tmp_path / "locks"))
    script = "from maxact.devices import take; take(1); import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["1"], done.stderr
