"""The kernel for GPUs, in torch: what is seen in a pass stays on the device until the pass is over, and comes over at once.

While a pass runs nothing waits for the device: every result has a shape that does not depend on the values, codes are counted
where the tensors are, and first places are found by numbers that no two elements share. The results are those of
the reference kernel, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxact.histogram import INFINITY_KEY, MAGNITUDE_MASK
from maxact.measure.reference import DTYPES, Extreme, Nonfinite, Scan, bits_of, histogram_codes
from maxact.measure.rows import Rows
from maxact.measure.state import SiteState
from maxact.measurement import SPLITS, TOP
from maxact.sites.taps import Routing

_PLACES = 1 << 32
"""More than a tensor has elements; a value and a place are one number below 2 to the 63."""

_NOTHING = torch.iinfo(torch.int64).min


@dataclass(frozen=True)
class _Launched:
    """Numbers that the device is to compute, int64, in the order of `_read`, and what they are of."""

    state: SiteState
    rows: Callable[[list[npt.NDArray[np.int64]]], Rows]
    shape: tuple[int, int]
    dtype: str
    numbers: list[Tensor]


class DeferredKernel:
    """Adds tensors to states after each pass, and their codes when asked to."""

    def __init__(self) -> None:
        self._launched: list[_Launched] = []
        self._counts: dict[tuple[int, int], tuple[SiteState, Tensor]] = {}

    def add(self, state: SiteState, rows: Rows, x_RC: Tensor, routing: Routing | None = None) -> None:
        """Look at the rows of one sample at one site, [rows, channels], at least one row.

        Args:
            state: of that site.
            rows: the tokens of the sample.
            x_RC: on any device.
            routing: which token and expert each row is of, inside routed experts.
        """
        x_RC = x_RC.detach()
        extra = [] if routing is None else [routing.token_R, routing.expert_R]
        build = _plain(rows) if routing is None else _routed(rows)
        self._launched.append(
            _Launched(state, build, (len(x_RC), x_RC.shape[1]), DTYPES[x_RC.dtype], [*launch(x_RC), *extra])
        )
        self._count(state, SPLITS.index(rows.split), x_RC)

    def settle(self) -> None:
        """The pass is over: fetch all numbers in one transfer from each device, and update the states."""
        launched, self._launched = self._launched, []
        for device in dict.fromkeys(item.numbers[0].device for item in launched):
            here = [item for item in launched if item.numbers[0].device == device]
            fetched = torch.cat([part.reshape(-1) for item in here for part in item.numbers]).numpy(force=True)
            start = 0
            for item in here:
                parts = []
                for part in item.numbers:
                    parts.append(fetched[start : start + part.numel()])
                    start += part.numel()
                rows = item.rows(parts[SCANNED:])
                item.state.update(rows, landed(parts[:SCANNED], item.shape, item.dtype, item.state.least(rows.sample)))

    def flush(self) -> None:
        """Add the codes that were counted on the device to the states."""
        counted, self._counts = self._counts, {}
        for (_, split), (state, counts) in counted.items():
            state.counts[split] += counts.numpy(force=True)

    def _count(self, state: SiteState, split: int, x_RC: Tensor) -> None:
        """By sorting, which is deterministic and, unlike a count of unknown length, waits for nothing."""
        key = (id(state), split)
        if key not in self._counts:
            self._counts[key] = (state, torch.zeros(65536, dtype=torch.int64, device=x_RC.device))
        ordered = histogram_codes(x_RC).flatten().to(torch.int32).sort().values
        edges = torch.arange(65537, dtype=torch.int32, device=x_RC.device)
        self._counts[key][1].add_(torch.searchsorted(ordered, edges).diff())


SCANNED = 9
"""How many tensors `launch` gives."""


def launch(x_RC: Tensor) -> list[Tensor]:
    """What `landed` needs of a tensor [rows, channels], as `SCANNED` int64 tensors on its device."""
    dtype = DTYPES[x_RC.dtype]
    rows, channels = x_RC.shape
    bits_RC = bits_of(x_RC)
    keys_RC = bits_RC & MAGNITUDE_MASK[dtype]
    finite_RC = keys_RC < INFINITY_KEY[dtype]
    kept_RC = keys_RC.masked_fill(~finite_RC, -1)
    signed_RC = torch.where(bits_RC > MAGNITUDE_MASK[dtype], -keys_RC, keys_RC)
    # Lower median of n finite channels, whose keys follow the others (-1) when sorted.
    count_R = finite_RC.sum(dim=1)
    index_R = channels - count_R + (count_R + 1) // 2 - 1
    medians_R = kept_RC.sort(dim=1).values.gather(1, index_R.clamp(0, channels - 1)[:, None])[:, 0]
    # An earlier element has a larger number behind its value: of equal values the first is the largest.
    before_RC = (_PLACES - 1) - torch.arange(rows * channels, device=x_RC.device).view(rows, channels)
    placed_RC = kept_RC * _PLACES + before_RC
    largest = (signed_RC * _PLACES + before_RC).masked_fill(~finite_RC, _NOTHING).amax()
    smallest = (-signed_RC * _PLACES + before_RC).masked_fill(~finite_RC, _NOTHING).amax()
    top_N = placed_RC.flatten().topk(min(TOP, rows * channels)).values
    peak_R = placed_RC.amax(dim=1)
    odd = torch.stack(
        [
            (~finite_RC).sum(),
            (bits_RC == INFINITY_KEY[dtype]).sum(),
            (bits_RC == INFINITY_KEY[dtype] + MAGNITUDE_MASK[dtype] + 1).sum(),
            before_RC.masked_fill(finite_RC, -1).amax(),
        ]
    )
    chosen = torch.cat([top_N, peak_R])
    at = (_PLACES - 1) - chosen % _PLACES
    return [
        peak_R,
        medians_R.masked_fill(count_R == 0, -1),
        kept_RC.amax(dim=0),
        largest,
        smallest,
        odd,
        top_N,
        signed_RC.flatten()[at[: len(top_N)]],
        signed_RC.flatten()[at[len(top_N) :]],
    ]


def landed(parts: list[npt.NDArray[np.int64]], shape: tuple[int, int], dtype: str, least: int) -> Scan:
    """What the reference kernel says of a tensor of that shape, from the numbers of `launch`."""
    peak_R, medians_R, channel_max_C, largest, smallest, odd, top_N, top_signed_N, peak_signed_R = parts
    channels = shape[1]
    row_max_R, peak_at_R = peak_R >> 32, (_PLACES - 1) - (peak_R & (_PLACES - 1))
    key_N, at_N = top_N >> 32, (_PLACES - 1) - (top_N & (_PLACES - 1))
    wanted_N = key_N >= max(least, 0)
    top = np.stack([key_N, at_N // channels, at_N % channels, top_signed_N], axis=1)[wanted_N]
    found, first = _extreme(int(smallest[0]), channels), _extreme(int(largest[0]), channels)
    number, positive, negative, last = odd.tolist()
    row, channel = divmod((_PLACES - 1) - last, channels)

    def peak_of(row: int) -> tuple[int, int]:
        return int(peak_at_R[row] % channels), int(peak_signed_R[row])

    return Scan(
        row_max_T=row_max_R,
        medians_T=medians_R,
        channel_max_C=channel_max_C,
        largest=first,
        smallest=None if found is None else (-found[0], found[1], found[2]),
        top_N=top,
        nonfinite=Nonfinite(number - positive - negative, positive, negative, row, channel) if number else None,
        peak_of=peak_of,
    )


def _extreme(placed: int, channels: int) -> Extreme | None:
    """Value, row and channel; None where nothing is finite."""
    if placed == _NOTHING:
        return None
    return placed >> 32, *divmod((_PLACES - 1) - (placed & (_PLACES - 1)), channels)


def _plain(rows: Rows) -> Callable[[list[npt.NDArray[np.int64]]], Rows]:
    return lambda _: rows


def _routed(rows: Rows) -> Callable[[list[npt.NDArray[np.int64]]], Rows]:
    return lambda parts: rows.routed(parts[0], parts[1])
