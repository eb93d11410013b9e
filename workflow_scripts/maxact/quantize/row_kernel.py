"""What one sample says at one site, in every way to quantize: by compiled loops on CPU, by torch on any device.

Both give the same sums up to the rounding of float64; elements are reconstructed alike, bit by bit (`blocks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import INFINITY_KEY, Codes, abs_quantile, code_values, finite_codes
from maxact.measure.reference import DTYPES, histogram_codes
from maxact.measure.threads import share_out
from maxact.quantize import compiled
from maxact.quantize import compiled_rows as loops
from maxact.quantize.blocks import by_channel, quantized_and_clipped
from maxact.quantize.compiled import Float32
from maxact.quantize.errors import Distribution, held
from maxact.quantize.formats import Floats, quantile_of
from maxact.quantize.quantizers import quantizer
from maxact.quantize.ways import E4M3_BELOW, E4M3_TRIED, EXPONENTS_TRIED, FRACTIONS, MAX, SAMPLE, Way

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """The largest |x| of each channel on the calibration split, float32 [C]; 0 where there is none.

    Attributes:
        known: whether any channel has one.
    """

    channel_C: Float32
    known: bool

    @staticmethod
    def of(largest_C: npt.NDArray[Any]) -> Calibration:
        """From the column of a measurement, NaN where a channel has no finite value there."""
        known_C = np.isfinite(largest_C)
        return Calibration(np.where(known_C, largest_C, 0).astype(np.float32), bool(known_C.any()))

    @property
    def largest(self) -> float:
        """Of all channels."""
        return float(self.channel_C.max(initial=0.0))


@dataclass
class Sums:
    """What is added up at a site, over samples in their order.

    Attributes:
        errors_W2: sums of |error| and error^2 of each way; NaN where an element that is not 0 has no scale, as there was
            nothing to calibrate on.
        clipped_W: elements beyond what their scale can hold.
        counts: of the 16-bit codes.
    """

    errors_W2: npt.NDArray[np.float64]
    clipped_W: Counts
    counts: Counts = field(default_factory=lambda: np.zeros(65536, np.int64))

    @staticmethod
    def zero(ways: Sequence[Way]) -> Sums:
        return Sums(np.zeros((len(ways), 2)), np.zeros(len(ways), np.int64))


class RowKernel(Protocol):
    """Adds the rows of one sample at one site, 16-bit [rows, channels], to its sums, at once or when told to flush."""

    def add(self, sums: Sums, x_RC: Tensor, calibration: Calibration) -> None: ...

    def flush(self) -> None: ...


class CompiledKernel:
    """On CPU.

    Args:
        threads: how many share a tensor's rows; torch's number by default. The sums do not depend on it.
    """

    def __init__(self, ways: Sequence[Way], threads: int | None = None) -> None:
        settings: Any = numba.config
        self._threads = min(threads or torch.get_num_threads(), settings.NUMBA_NUM_THREADS)
        self._counts_P = np.zeros((self._threads, 65536), np.uint32)
        self._ways = ways
        self._whole = [at for at, way in enumerate(ways) if way.granularity == SAMPLE]
        self._finer = [at for at, way in enumerate(ways) if way.granularity != SAMPLE]
        self._described = described([ways[at] for at in self._finer])
        self._tried = np.array(FRACTIONS, np.float32), np.array(EXPONENTS_TRIED), np.array([E4M3_TRIED, E4M3_BELOW])
        with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
            self._values = {name: code_values(name).astype(np.float32) for name in ("bfloat16", "float16")}

    def add(self, sums: Sums, x_RC: Tensor, calibration: Calibration) -> None:
        dtype = DTYPES[x_RC.dtype]
        bits_RC = x_RC.detach().contiguous().view(torch.int16).numpy().view(np.uint16)
        chunks = -(-len(bits_RC) // loops.CHUNK)
        errors_KW = np.empty((chunks, len(self._finer), 2))
        clipped_KW = np.empty((chunks, len(self._finer)), np.int64)
        share_out(self._threads)
        loops.add_rows(
            bits_RC,
            self._values[dtype],
            dtype == "bfloat16",
            np.uint16(INFINITY_KEY[dtype]),
            calibration.channel_C,
            np.float32(calibration.largest),
            self._tried,
            self._described,
            self._counts_P,
            errors_KW,
            clipped_KW,
        )
        counts = np.zeros(65536, np.int64)
        loops.gather(self._counts_P, counts)
        sums.counts += counts
        for errors_W2, clipped_W in zip(errors_KW, clipped_KW, strict=True):
            sums.errors_W2[self._finer] += errors_W2
            sums.clipped_W[self._finer] += clipped_W
        self._add_whole(sums, counts, dtype)

    def _add_whole(self, sums: Sums, counts: Counts, dtype: str) -> None:
        """One scale for all elements of the sample: its histogram tells all."""
        if not self._whole:
            return
        codes = np.flatnonzero((counts > 0) & finite_codes(dtype)).astype(np.uint16)
        if not len(codes):
            return
        tensor = Distribution.of(codes, counts[codes], dtype)
        low, high = tensor.extremes
        for at in self._whole:
            way = self._ways[at]
            threshold = self._threshold(way, tensor, codes, dtype)
            how = quantizer(way.format, threshold, low, high)
            rule = how.rule
            if threshold == 0:  # not that there was nothing to calibrate on: all is clipped to 0
                rule = rule._replace(kind=compiled.ZERO)
            low_held, high_held = held(how)
            sums.errors_W2[at] += compiled.sums(tensor.values, tensor.counts, rule, low_held, high_held)[:2]
            if way.policy != MAX:  # that of `sums` has what becomes infinite too
                exact = tensor.values.astype(np.float64)
                beyond = (exact < low_held) | (exact > high_held)
                sums.clipped_W[at] += tensor.counts[beyond].sum()

    def _threshold(self, way: Way, tensor: Distribution, codes: Codes, dtype: str) -> float:
        """Of one sample, as `blocks.py` has it."""
        low, high = tensor.extremes
        largest = np.float32(max(-low, high))
        if way.policy == MAX:
            return float(largest)
        if way.policy != "mse":
            return abs_quantile(codes, tensor.counts, dtype, quantile_of(way.policy))
        weights = tensor.counts.astype(np.float64)

        def loss(threshold: float) -> float:
            how = quantizer(way.format, threshold, low, high)
            return float(compiled.noise(tensor.values, weights, how.rule))

        return min((float(largest * np.float32(fraction)) for fraction in FRACTIONS), key=loss)

    def flush(self) -> None:
        pass


class TorchKernel:
    """On any device, by the definitions themselves; nothing waits for the device before `flush`."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = ways
        self._seen: dict[int, tuple[Sums, list[Tensor], Tensor]] = {}

    def add(self, sums: Sums, x_RC: Tensor, calibration: Calibration) -> None:
        x_RC = x_RC.detach()
        found_W = [self._errors(x_RC, way, calibration) for way in self._ways]
        found = torch.stack(found_W) if found_W else torch.empty(0, 3)
        # By sorting, which is deterministic and waits for nothing.
        ordered = histogram_codes(x_RC).flatten().to(torch.int32).sort().values
        counts = torch.searchsorted(ordered, torch.arange(65537, dtype=torch.int32, device=x_RC.device)).diff()
        before = self._seen.get(id(sums))
        if before is None:
            self._seen[id(sums)] = (sums, [found], counts)
        else:
            before[1].append(found)
            before[2].add_(counts)

    def _errors(self, x_RC: Tensor, way: Way, calibration: Calibration) -> Tensor:
        """Sums of |error| and error^2, and how many elements are clipped, float64 [3] on the device."""
        known = torch.isfinite(x_RC)
        if way.granularity == "channel":
            channel_C = torch.from_numpy(calibration.channel_C).to(x_RC.device, non_blocking=True)
            made = by_channel(x_RC, way.format, channel_C)
            unscaled = channel_C == 0
            beyond = ((x_RC.abs() > channel_C) & (channel_C > 0) & known).sum()
        else:
            granularity = None if way.format.block is not None else way.granularity
            largest = calibration.largest if way.format.scaling == "two_level" else None
            made, beyond = quantized_and_clipped(x_RC, way.format, granularity, largest, way.policy)
            unscaled = x_RC.new_full((), largest == 0, dtype=torch.bool)
        error = torch.where(known, made.double() - x_RC.double(), 0.0)
        error = torch.where(known & unscaled & (x_RC != 0), torch.nan, error)
        return torch.stack([error.abs().sum(), error.square().sum(), beyond.double()])

    def flush(self) -> None:
        """Bring what was computed on the device into the sums, in the order of the samples."""
        seen, self._seen = self._seen, {}
        for sums, found, counts in seen.values():
            for found_W3 in torch.stack(found).numpy(force=True):
                sums.errors_W2 += found_W3[:, :2]
                sums.clipped_W += found_W3[:, 2].astype(np.int64)
            sums.counts += counts.numpy(force=True)


def described(ways: Sequence[Way]) -> tuple[npt.NDArray[np.int64], Float32]:
    """The ways as the compiled loops read them."""
    hows = np.zeros((len(ways), 10), np.int64)
    floats = np.zeros((len(ways), 3), np.float32)
    scalings = {"free": loops.FREE, "power_of_two": loops.POWER_OF_TWO, "two_level": loops.TWO_LEVEL}
    roundings = {"floor": loops.FLOOR, "ceil": loops.CEIL, "even": loops.EVEN, "rceil": loops.RCEIL}
    for how, numbers, way in zip(hows, floats, ways, strict=True):
        elements = way.format.elements
        how[loops.SCALING], how[loops.ROUNDING] = scalings[way.format.scaling], roundings[way.format.rounding]
        how[loops.GROUP] = way.group or (loops.CHANNEL if way.granularity == "channel" else loops.ROW)
        if way.policy == "mse":
            how[loops.POLICY] = loops.LEAST_SQUARES
        elif way.policy != MAX:
            how[loops.POLICY] = loops.QUANTILE
            how[loops.NUMERATOR], how[loops.DENOMINATOR] = Fraction(quantile_of(way.policy)).as_integer_ratio()
        numbers[loops.LARGEST] = elements.largest
        if isinstance(elements, Floats):
            how[loops.KIND], how[loops.MANTISSA] = loops.FLOATING, elements.mantissa
            how[loops.SMALLEST_EXPONENT] = elements.smallest_exponent
            how[loops.LARGEST_EXPONENT] = elements.largest_exponent
        else:
            how[loops.KIND] = loops.SHIFTED if way.format.asymmetric else loops.INTEGER
            numbers[loops.LOWEST], numbers[loops.HIGHEST] = elements.lowest, elements.highest
    return hows, floats
