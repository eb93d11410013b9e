"""Measure a model: one sample a forward pass, unpadded, every site of every pass.

One sample a pass means that padding cannot count, and that a sample gives the same bits alone as among others. Each
hook works off its tensor before the forward pass goes on, so a module that later writes into it in place does no
harm, and nothing is kept but the state.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from maxact.errors import UserError
from maxact.measure.numba_kernel import NumbaKernel
from maxact.measure.reference import DTYPES, ReferenceKernel
from maxact.measure.state import SiteState
from maxact.measure.tables import tables
from maxact.measurement import SPLITS, Measurement
from maxact.sites.find import Site, find_sites
from maxact.sites.taps import Routing, tapped

Bits = npt.NDArray[np.unsignedinteger]

KERNELS = {"numba": NumbaKernel, "reference": ReferenceKernel}


@dataclass(frozen=True)
class Sample:
    """Token ids of one sample: its number in the corpus, and the split that its counts go to."""

    sample: int
    split: str
    token_ids: tuple[int, ...]


class Watch:
    """Hooks on every site of a decoder, and the states that they fill.

    Use as a context manager: the hooks are there inside it only. `begin` says which sample comes next.
    """

    def __init__(self, sites: Sequence[Site], kernel: str = "numba") -> None:
        self.sites = sites
        self.states: dict[int, SiteState] = {}
        self._kernel = KERNELS[kernel]()
        self._sample = Sample(-1, SPLITS[0], ())
        self._fired: dict[int, int] = {}

    def __enter__(self) -> Watch:
        self._taps = tapped(self.sites, self._see)
        self._taps.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._taps.__exit__(*error)

    def begin(self, sample: Sample) -> None:
        """The next forward pass is this sample's. Counts are moved to their split when the split changes."""
        if sample.split != self._sample.split:
            self.collect()
        self._sample = sample
        self._fired = {}

    def end(self) -> None:
        """The forward pass is over.

        Raises:
            RuntimeError: a site did not fire exactly once, so what was measured is not what the table says.
        """
        for site in self.sites:
            times = self._fired.get(site.number, 0)
            if times != (site.place is not None):
                raise RuntimeError(f"{site.component} at layer {site.layer} fired {times} times in one forward pass")

    def collect(self) -> None:
        """Move the kernel's counts into the states."""
        for number, state in self.states.items():
            state.add_counts(self._sample.split, self._kernel.collect(number))

    def _see(self, site: Site, x: Tensor, routing: Routing | None) -> None:
        """One tensor at one site: [1, tokens, channels] or [tokens, channels]."""
        x_TC = x.detach().reshape(-1, x.shape[-1]).cpu()  # the kernels are for CPU
        if len(x_TC) != len(self._sample.token_ids):
            raise RuntimeError(
                f"{site.component} at layer {site.layer}: {len(x_TC)} rows for {len(self._sample.token_ids)} tokens"
            )
        state = self.states.get(site.number)
        if state is None:
            state = self.states[site.number] = SiteState(DTYPES[x.dtype], x.shape[-1])
        x_TC = x_TC.contiguous()
        signed, unsigned = (torch.int32, np.uint32) if x.dtype == torch.float32 else (torch.int16, np.uint16)
        bits_TC: Bits = x_TC.view(signed).numpy(force=True).view(unsigned)
        state.update(self._sample.sample, self._sample.split, self._kernel.scan(site.number, x_TC), bits_TC)
        self._fired[site.number] = self._fired.get(site.number, 0) + 1


def measure(
    model: Any,
    samples: Sequence[Sample],
    components: Collection[str],
    vocabulary: Mapping[int, str] | None = None,
    kernel: str = "numba",
    title: str | None = None,
) -> Measurement:
    """Run every sample through the model's decoder and keep the statistics of every site.

    Args:
        model: a transformers causal language model on any device, in evaluation mode; its head is not run.
        samples: in any order; the result does not depend on it.
        components: which to measure.
        vocabulary: text by token id, for the table `top`.
        kernel: "numba", or "reference" for the plain one; both give the same bytes.
        title: named before a progress bar on standard error; no bar without it.

    Raises:
        UserError: no samples, an empty one, one too long, or a token id that the model has not.
    """
    decoder = model.get_decoder()
    check_samples(samples, decoder.config.vocab_size, decoder.config.max_position_embeddings)
    sites = find_sites(decoder, components)
    total = sum(len(sample.token_ids) for sample in samples)
    bar = tqdm(
        total=total, unit="tok", unit_scale=True, desc=title, disable=title is None, file=sys.stderr, mininterval=1
    )
    with Watch(sites, kernel) as watch, bar, _deterministic(), torch.inference_mode():
        # By split, so that counts are moved seldom; the results are the same in any order.
        for sample in sorted(samples, key=lambda item: (item.split, item.sample)):
            watch.begin(sample)
            decoder(input_ids=torch.tensor([sample.token_ids], device=model.device), use_cache=False)
            watch.end()
            bar.update(len(sample.token_ids))
        watch.collect()
    return tables(sites, watch.states, {sample.sample: sample.token_ids for sample in samples}, vocabulary)


def check_samples(samples: Sequence[Sample], vocabulary_size: int, context: int) -> None:
    """Refuse samples that the model cannot take.

    Raises:
        UserError: names the sample, counted from 0.
    """
    if not samples:
        raise UserError("tokens: no samples; give at least one")
    for sample in samples:
        tokens, name = len(sample.token_ids), f"tokens: sample {sample.sample}"
        if not tokens:
            raise UserError(f"{name} is empty; remove it")
        if tokens > context:
            raise UserError(f"{name} has {tokens} tokens, the model's context is {context}; shorten it")
        wrong = next((token for token in sample.token_ids if not 0 <= token < vocabulary_size), None)
        if wrong is not None:
            known = f"the model's vocabulary is 0 to {vocabulary_size - 1}; use the model's own tokenizer"
            raise UserError(f"{name} has token id {wrong}, {known}")


@contextmanager
def _deterministic() -> Iterator[None]:
    """Refuse algorithms whose result depends on chance; do not fill fresh memory, which costs time and helps nobody."""
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
