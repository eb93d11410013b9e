"""What SmoothQuant reaches: errors of linear layers behind norms with and without it.

A layer Y = X W^T is run with both sides in one number format: its input as the granularity says, its weights with a scale for
each output channel from their largest magnitude. With s of `smoothing.py`, Q(X / s) s stands for X and Q(s W) / s for W; without
it s is 1. Told are

* the error of the input, Q(X / s) s - X, against X, and
* the error of the output, [Q(X / s) s] [Q(s W) / s]^T - X W^T, against X W^T, over all layers that the norm feeds.

The first weighs channels as X does, the second as the layers do; only the second has what smoothing costs the weights.
Granularities are `tensor` (static: the largest |X / s| on the calibration split), `token` (dynamic, a scale for each row), and
`none`, where the input stays as it is and the error of the output is that of the weights.

Arithmetic is in float32, sums of squares in float64. Tokens with a NaN or an infinity are left out, and counted.

Legend of shapes: R rows (tokens), C input channels, O output channels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from maxact.measure.batches import model_inputs
from maxact.measure.run import Sample, check_samples, deterministic
from maxact.quantize.blocks import by_channel, fake_quantize
from maxact.quantize.errors import statistics
from maxact.quantize.formats import FORMATS, Format
from maxact.quantize.smoothing import Place, Smoothing
from maxact.quantize.stage import SCHEMA
from maxact.quantize.weights import Weights
from maxact.sites.find import Site, decoder_of
from maxact.sites.taps import tapped

NONE, TENSOR, TOKEN = GRANULARITIES = ("none", "tensor", "token")
"""What shares a scale of the input."""

ROWS = 256
"""Tokens whose outputs are held at once."""

PART = 1 << 15
"""Numbers whose squares are added up at once."""

SMOOTHING = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("site", "component", "layer")),
        ("alpha", pa.float64()),  # null: without smoothing
        *(SCHEMA.field(name) for name in ("format", "granularity", "threshold")),
        ("tokens", pa.int64()),
        ("tokens_left_out", pa.int64()),
        *(SCHEMA.field(name) for name in ("relative_rmse", "sqnr_db", "clip_rate")),  # of the input
        ("output_relative_rmse", pa.float64()),
        ("output_sqnr_db", pa.float64()),
        ("reason", pa.string()),  # why the site is not smoothed; then all but its place and alpha is null
    ]
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Behind:
    """The linear layers behind a norm, and what they were given.

    Attributes:
        x_RC: float32, finite.
        weight_OC: float32, of all layers, one below the other.
        largest: the largest |x| on the calibration split.
    """

    x_RC: Tensor
    weight_OC: Tensor
    largest: float

    @cached_property
    def power(self) -> float:
        """The sum of squares of the input."""
        return _square(self.x_RC)

    @cached_property
    def output(self) -> float:
        """The sum of squares of the output."""
        return math.fsum(_square(_linear(part_RC, self.weight_OC)) for part_RC in torch.split(self.x_RC, ROWS))


def smoothing_rows(
    model: Any,
    samples: Sequence[Sample],
    sites: Sequence[Site],
    by_alpha: Mapping[float, Mapping[Place, Smoothing | str]],
    weights: Weights,
    formats: Sequence[str],
) -> tuple[list[Row], Sequence[Sample]]:
    """The rows of `SMOOTHING`, and the samples that were passed for them, none where no site is smoothed; of sites that one
    norm gives its output the first stands for all.

    Args:
        sites: of the model, in forward order.
        by_alpha: what each place is divided by, or why it is not.

    Raises:
        UserError: a sample does not fit the model.
    """
    firsts, norms = [], set()
    for site in sites:
        found = [places.get((site.component, site.layer)) for places in by_alpha.values()]
        smoothed = [one for one in found if isinstance(one, Smoothing)]
        if any(found) and not any(one.norm in norms for one in smoothed):
            firsts.append((site, smoothed))
            norms |= {one.norm for one in smoothed}
    watched = [site for site, smoothed in firsts if smoothed]
    kept = rows_of(model, samples, watched)
    rows: list[Row] = []
    for site, smoothed in firsts:
        named = {"site": site.number, "component": site.component, "layer": site.layer}
        for alpha, places in by_alpha.items():
            reason = places.get((site.component, site.layer))
            if isinstance(reason, str):
                rows.append({**named, "alpha": alpha, "reason": reason})
        if not smoothed:
            continue
        x_RC = kept.pop(site.number).to(model.device).float()
        finite_R = torch.isfinite(x_RC).all(1)
        weight_OC = weights.stacked(smoothed[0].modules).to(model.dtype).to(model.device).float()
        layers = Behind(x_RC[finite_R], weight_OC, float(smoothed[0].x_C.max()))
        named |= {"tokens": int(finite_R.sum()), "tokens_left_out": int((~finite_R).sum())}
        rows += [{**named, "alpha": None, **row} for row in errors_of(layers, formats)]
        for alpha, places in by_alpha.items():
            how = places.get((site.component, site.layer))
            if isinstance(how, Smoothing):
                rows += [{**named, "alpha": alpha, **row} for row in errors_of(layers, formats, how)]
    return rows, samples if watched else []


def rows_of(model: Any, samples: Sequence[Sample], sites: Collection[Site]) -> dict[int, Tensor]:
    """What the samples give at some sites, [R, C] in main memory, by site number; one sample a pass, unpadded.

    Raises:
        UserError: a sample does not fit the model.
    """
    decoder = decoder_of(model)
    check_samples(samples, decoder.config)
    kept: dict[int, list[Tensor]] = {site.number: [] for site in sites}

    def keep(site: Site, x: Tensor, _: Any) -> None:
        kept[site.number].append(x.detach().reshape(-1, x.shape[-1]).to("cpu", copy=True))

    if not sites:
        return {}
    with tapped(list(sites), keep), deterministic(), torch.inference_mode():
        for sample in sorted(samples, key=lambda item: item.sample):
            decoder(**model_inputs([sample], model.device), use_cache=False)
    return {number: torch.cat(parts) for number, parts in kept.items()}


def errors_of(layers: Behind, formats: Sequence[str], how: Smoothing | None = None) -> Iterator[Row]:
    """A row for each format and granularity: threshold, and the errors of input and output.

    Args:
        how: with what the input is divided; None for nothing.
    """
    weight_OC = layers.weight_OC
    scale_C = torch.ones_like(weight_OC[0]) if how is None else torch.from_numpy(how.scale_C).to(weight_OC)
    largest = layers.largest if how is None else how.largest
    scaled_OC = weight_OC * scale_C
    parts = [(part_RC, part_RC / scale_C) for part_RC in torch.split(layers.x_RC, ROWS)]
    clipped = sum(int((given_RC.abs() > largest).sum()) for _, given_RC in parts)
    for format in (FORMATS[name] for name in formats):
        made_OC = fake_quantize(scaled_OC, format, "token").div_(scale_C)
        error_OC = made_OC - weight_OC
        squares: npt.NDArray[np.float64] = np.zeros((len(GRANULARITIES), 2))
        for part_RC, given_RC in parts:
            of_weights_RO = _linear(part_RC, error_OC)
            squares[0, 1] += _square(of_weights_RO)
            for number, granularity in enumerate(GRANULARITIES[1:], start=1):
                error_RC = _quantized(given_RC, format, granularity, largest) * scale_C - part_RC
                squares[number] += _square(error_RC), _square(_linear(error_RC, made_OC).add_(of_weights_RO))
        for granularity, (of_input, of_output) in zip(GRANULARITIES, squares, strict=True):
            yield {
                "format": format.name,
                "granularity": granularity,
                "threshold": largest if granularity == TENSOR else None,
                **dict(zip(("relative_rmse", "sqnr_db"), _relative(of_input, layers.power), strict=True)),
                "clip_rate": clipped / max(1, layers.x_RC.numel()) if granularity == TENSOR else 0.0,
                **dict(
                    zip(("output_relative_rmse", "output_sqnr_db"), _relative(of_output, layers.output), strict=True)
                ),
            }


def _quantized(x_RC: Tensor, format: Format, granularity: str, largest: float) -> Tensor:
    """NaN where there is no scale: the calibration split has nothing but zeros, and x is not 0."""
    if granularity == TOKEN:
        return fake_quantize(x_RC, format, "token")
    if largest == 0:
        return torch.where(x_RC == 0, 0.0, torch.nan)
    return by_channel(x_RC, format, x_RC.new_full(x_RC.shape[1:], largest))


def _linear(x_RC: Tensor, weight_OC: Tensor) -> Tensor:
    """x W^T in float32. On CPU by oneDNN, where there is one: on AMD's processors torch's own product takes twice as long."""
    if x_RC.device.type != "cpu" or not x_RC.numel() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return x_RC @ weight_OC.T
    made: Tensor = torch.nn.functional.linear(x_RC.to_mkldnn(), weight_OC.to_mkldnn()).to_dense()
    return made


def _square(x: Tensor) -> float:
    """In float64; on CPU in parts that stay in a cache, elsewhere at once, as each part would be waited for."""
    if x.device.type != "cpu":
        return float(x.double().square().sum())
    return math.fsum(float(torch.dot(part, part)) for part in map(Tensor.double, torch.split(x.flatten(), PART)))


def _relative(error: float, power: float) -> tuple[float, float]:
    """Relative RMSE and SQNR in dB, as `statistics` has them."""
    return statistics(0.0, error, 0.0, power, 1)[3:]
