"""The hooks of a measurement, and the states that they fill.

Each hook works off its tensor before the forward pass goes on, or has the device do so in its order, so a module that later
writes into it in place does no harm, and nothing is kept but the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from maxact.measure.kernels import kernel_named
from maxact.measure.reference import DTYPES
from maxact.measure.rows import Integers, Rows, TokenClasses
from maxact.measure.state import SiteState
from maxact.sites.find import Site
from maxact.sites.taps import Routing, tapped


@dataclass(frozen=True)
class Sample:
    """Token ids of one sample: its number in the corpus, and the split that its counts go to."""

    sample: int
    split: str
    token_ids: tuple[int, ...]


class Watch:
    """Hooks on every site of a decoder, and the states that they fill.

    Use as a context manager: the hooks are there inside it only. `begin` says which samples the next pass has.

    Attributes:
        states: by site number.
        expert_tokens: by layer with routed experts, how many tokens chose each.
    """

    def __init__(self, sites: Sequence[Site], kernel: str = "numba", classes: TokenClasses | None = None) -> None:
        self.sites = sites
        self.states: dict[int, SiteState] = {}
        self.expert_tokens: dict[int, Integers] = {}
        self._kernel = kernel_named(kernel)
        self._classes = classes or TokenClasses(None)
        self._rows: list[Rows] = []
        self._width = 0
        self._fired: dict[int, int] = {}
        self._chosen: list[tuple[int, Tensor, int]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        self._stack.enter_context(tapped(self.sites, self._see, self._routed))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        self.flush()

    def flush(self) -> None:
        """Bring all that was seen in passes that are over into the states."""
        self._kernel.flush()

    def begin(self, *samples: Sample) -> None:
        """The next forward pass has these samples, one a row of the batch, filled up on the right to the longest."""
        self._width = max(len(sample.token_ids) for sample in samples)
        self._rows = [
            Rows(
                sample.sample,
                sample.split,
                np.arange(len(sample.token_ids)),
                np.array(sample.token_ids, np.int64),
                self._classes(sample.token_ids),
            )
            for sample in samples
        ]
        self._fired = {}

    def end(self) -> None:
        """The forward pass is over: what was seen in it goes into the states.

        Raises:
            RuntimeError: a site did not fire exactly once, so what was measured is not what the table says.
        """
        self._kernel.settle()
        self._count_chosen()
        for site in self.sites:
            times = self._fired.get(site.number, 0)
            if times != (site.place is not None):
                raise RuntimeError(f"{site.component} at layer {site.layer} fired {times} times in one forward pass")

    def _see(self, site: Site, x: Tensor, routing: Routing | None) -> None:
        """One tensor at one site: [batch, tokens, channels], [batch x tokens, channels], or rows inside experts."""
        channels, batch = x.shape[-1], len(self._rows)
        rows = x.numel() // channels
        state = self.states.get(site.number)
        if state is None:
            state = self.states[site.number] = SiteState(DTYPES[x.dtype], channels)
        x_RC = x.detach().reshape(rows, channels)
        self._fired[site.number] = self._fired.get(site.number, 0) + 1
        if routing is not None:
            self._see_routed(state, x_RC, routing)
            return
        if rows != batch * self._width:
            tokens = f"{batch * self._width} tokens" if batch == 1 else f"{batch} samples of {self._width} tokens"
            raise RuntimeError(f"{site.component} at layer {site.layer}: {rows} rows for {tokens}")
        for number, sample in enumerate(self._rows):
            start = number * self._width
            self._kernel.add(state, sample, x_RC[start : start + len(sample.position_R)])

    def _see_routed(self, state: SiteState, x_RC: Tensor, routing: Routing) -> None:
        """Rows of fill are not looked at."""
        if len(self._rows) == 1:
            self._kernel.add(state, self._rows[0], x_RC, routing)
            return
        for number, sample in enumerate(self._rows):
            position_R = routing.token_R - number * self._width
            mine_R = (position_R >= 0) & (position_R < len(sample.position_R))
            x_MC = x_RC[mine_R]
            if len(x_MC):
                self._kernel.add(state, sample, x_MC, Routing(position_R[mine_R], routing.expert_R[mine_R]))

    def _routed(self, layer: int, chosen_TK: Tensor, experts: int) -> None:
        """Which experts the tokens of a layer have chosen, int64 [batch x tokens, experts of a token]."""
        self._chosen.append((layer, chosen_TK.detach().clone(), experts))

    def _count_chosen(self) -> None:
        chosen, self._chosen = self._chosen, []
        for layer, chosen_TK, experts in chosen:
            chosen_BTK = chosen_TK.cpu().numpy().reshape(len(self._rows), self._width, -1)
            counts = self.expert_tokens.setdefault(layer, np.zeros(experts, np.int64))
            for number, sample in enumerate(self._rows):
                counts += np.bincount(chosen_BTK[number, : len(sample.position_R)].ravel(), minlength=experts)
