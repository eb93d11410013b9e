"""The hooks of `evaluate`: what each sample of the evaluation split adds to the sums of every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.measure.reference import DTYPES, histogram_codes
from maxact.measure.watch import Sample
from maxact.quantize.protection import FIRST_TOKEN, channels_named, largest_channels
from maxact.quantize.row_kernel import Calibration, CompiledKernel, RowKernel, Sums, TorchKernel
from maxact.quantize.ways import Way
from maxact.sites.find import Site
from maxact.sites.taps import Routing, tapped


@dataclass
class Seen:
    """What is known and added up of one site.

    Attributes:
        site: where it is in the model.
        dtype: that of the measurement.
        largest_C: the largest |x| of each channel on the calibration split, NaN where there is none.
        protected: counts of the codes that would be kept as they are, int64 [65536], by what is protected.
    """

    site: Site
    dtype: str
    largest_C: npt.NDArray[Any]
    sums: Sums
    calibration: Calibration
    protected: dict[str, npt.NDArray[np.int64]]
    channels: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(site: Site, dtype: str, largest_C: npt.NDArray[Any], ways: Sequence[Way], channels: Sequence[int]) -> Seen:
        """Nothing seen yet; so many channels are to be protected."""
        chosen = {channels_named(number): torch.from_numpy(largest_channels(largest_C, number)) for number in channels}
        protected = {name: np.zeros(65536, np.int64) for name in (FIRST_TOKEN, *chosen)}
        return Seen(site, dtype, largest_C, Sums.zero(ways), Calibration.of(largest_C), protected, chosen)


class Evaluation:
    """Hooks on the sites of a decoder while entered, on CPU or GPU; one sample a pass, unpadded.

    Args:
        seen: by number of the site.
        kernel: by default that for the device.
    """

    def __init__(
        self, seen: Mapping[int, Seen], ways: Sequence[Way], device: str, kernel: RowKernel | None = None
    ) -> None:
        self._seen = seen
        self._kernel = kernel or (TorchKernel(ways) if device == "cuda" else CompiledKernel(ways))
        self._tokens = 0
        self._fired: dict[int, int] = {}
        self._kept: list[tuple[npt.NDArray[np.int64], Tensor]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Evaluation:
        self._stack.enter_context(tapped([item.site for item in self._seen.values()], self._see))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error[0] is None:
            self._kernel.flush()

    def begin(self, sample: Sample) -> None:
        """The next forward pass has this sample."""
        self._tokens, self._fired = len(sample.token_ids), {}

    def end(self) -> None:
        """The forward pass is over.

        Raises:
            RuntimeError: a site did not fire exactly once.
        """
        kept, self._kept = self._kept, []
        for counts, codes in kept:
            np.add.at(counts, codes.numpy(force=True), 1)
        for number, item in self._seen.items():
            times = self._fired.get(number, 0)
            if times != 1:
                raise RuntimeError(f"{_name(item.site)} fired {times} times in one forward pass")

    def _see(self, site: Site, x: Tensor, routing: Routing | None) -> None:
        item, channels = self._seen[site.number], x.shape[-1]
        x_RC = x.detach().reshape(-1, channels)
        self._fired[site.number] = self._fired.get(site.number, 0) + 1
        found = DTYPES[x.dtype], channels
        if found != (item.dtype, len(item.largest_C)):
            raise RuntimeError(
                f"{_name(site)} is {found}, and was {item.dtype, len(item.largest_C)} when it was measured"
            )
        if routing is None and len(x_RC) != self._tokens:
            raise RuntimeError(f"{_name(site)}: {len(x_RC)} rows for {self._tokens} tokens")
        self._kernel.add(item.sums, x_RC, item.calibration)
        first_RC = x_RC[:1] if routing is None else x_RC[routing.token_R == 0]
        self._keep(item.protected[FIRST_TOKEN], first_RC)
        for name, chosen in item.channels.items():
            self._keep(item.protected[name], x_RC[:, chosen.to(x_RC.device)])

    def _keep(self, counts: npt.NDArray[np.int64], x: Tensor) -> None:
        self._kept.append((counts, histogram_codes(x).flatten()))


def _name(site: Site) -> str:
    return site.component if site.layer is None else f"{site.component} at layer {site.layer}"
