"""The kernels by name, and what they have in common: tensors go in, states are up to date when the pass is settled."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt
from torch import Tensor

from maxact.measure.deferred import DeferredKernel
from maxact.measure.numba_kernel import NumbaKernel
from maxact.measure.reference import ReferenceKernel, Scan
from maxact.measure.rows import Rows
from maxact.measure.state import SiteState
from maxact.sites.taps import Routing


class Kernel(Protocol):
    """Brings what is seen into the states, at once or later."""

    def add(self, state: SiteState, rows: Rows, x_RC: Tensor, routing: Routing | None = None) -> None:
        """Look at the rows of one sample at one site; inside routed experts `routing` says which token each is of."""

    def settle(self) -> None:
        """The pass is over: all of it is in the states, but for counts."""

    def flush(self) -> None:
        """All counts are in the states."""


class Scanner(Protocol):
    """Scans a tensor on CPU and adds its codes to the counts [65536]."""

    def scan(self, x_RC: Tensor, counts: npt.NDArray[Any], least: int = 0) -> Scan: ...


class ImmediateKernel:
    """Moves each tensor to the CPU and works it off before the pass goes on."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def add(self, state: SiteState, rows: Rows, x_RC: Tensor, routing: Routing | None = None) -> None:
        if routing is not None:
            rows = rows.routed(routing.token_R.cpu().numpy(), routing.expert_R.cpu().numpy())
        counts = state.split_counts(rows.split)
        state.update(rows, self._scanner.scan(x_RC.cpu(), counts, state.least(rows.sample)))

    def settle(self) -> None:
        pass

    def flush(self) -> None:
        pass


KERNELS = ("numba", "reference", "deferred")
"""The fast one for CPU, the plain one, and the one for GPUs; all give the same bytes."""


def kernel_named(name: str) -> Kernel:
    """A kernel of `KERNELS`."""
    if name == "deferred":
        return DeferredKernel()
    return ImmediateKernel(NumbaKernel() if name == "numba" else ReferenceKernel())
