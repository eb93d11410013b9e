"""Measure a model: every site of every forward pass over the samples.

By default a pass has one sample, unpadded: padding cannot count, and a sample gives the same bits alone as among others.
With a budget of tokens a pass has several samples, filled up on the right; what is fill is not looked at, but a sample's
last bits may depend on what it was batched with.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from maxact.errors import UserError
from maxact.measure.batches import model_inputs, plan
from maxact.measure.kernels import KERNELS
from maxact.measure.parts import Part, read_part
from maxact.measure.rows import TokenClasses
from maxact.measure.tables import tables
from maxact.measure.watch import Sample, Watch
from maxact.measurement import Measurement
from maxact.sites.components import INSIDE_EXPERTS
from maxact.sites.find import Site, decoder_of, find_sites

__all__ = ["KERNELS", "Sample", "Watch", "check_samples", "deterministic", "measure", "observe"]

SAVE_SECONDS = 30.0
"""How much of a measurement an interruption can cost, beside one forward pass."""


@dataclass(frozen=True)
class Observed:
    """Attributes: sites in forward order, what was seen there, and the forward passes that it took here."""

    sites: list[Site]
    part: Part
    passes: int

    def tables(self, vocabulary: Mapping[int, str] | None = None) -> Measurement:
        """The measurement."""
        return tables(self.sites, self.part.states, vocabulary, self.part.expert_tokens)


def measure(
    model: Any,
    samples: Sequence[Sample],
    components: Collection[str],
    vocabulary: Mapping[int, str] | None = None,
    kernel: str | None = None,
    title: str | None = None,
) -> Measurement:
    """The tables of what `observe` sees."""
    return observe(model, samples, components, vocabulary, kernel, title).tables(vocabulary)


def observe(
    model: Any,
    samples: Sequence[Sample],
    components: Collection[str],
    vocabulary: Mapping[int, str] | None = None,
    kernel: str | None = None,
    title: str | None = None,
    batch_tokens: int | None = None,
    about: Mapping[str, Any] | None = None,
    chosen: Collection[int] | None = None,
    unfinished: Path | None = None,
) -> Observed:
    """Run every sample through the model's decoder and keep the statistics of every site.

    Args:
        model: a transformers causal language model on any device, in evaluation mode; its head is not run.
        samples: in any order; the result does not depend on it.
        components: which to measure.
        vocabulary: text by token id, which tells delimiters.
        kernel: one of `KERNELS`; by default "numba", or "deferred" where the model is on a GPU.
        title: named before a progress bar on standard error; no bar without it.
        batch_tokens: tokens of a pass, fill included; without it a pass has one sample. Where that is too much for the
            memory, all begins anew with half of it; `part.about` has what it was in the end.
        about: what else decides the measurement, beside sites, dtype, samples and batches: parts with another are not
            merged.
        chosen: numbers of the samples that are run, where the others are in other shards.
        unfinished: a file in which what has been seen is saved as it goes; one that is there is gone on from, if it is of
            the same measurement.

    Raises:
        UserError: no samples, an empty one, one too long, also for the memory, or a token id that the model has not.
        RuntimeError: a site did not see every token.
    """
    decoder = decoder_of(model)
    check_samples(samples, decoder.config)
    sites = find_sites(decoder, components)
    told: dict[str, Any] = {
        "sites": [[site.component, site.layer, site.reason] for site in sites],
        "dtype": str(decoder.dtype),
    }
    told |= {"samples": _digest(samples), **(about or {})}
    if chosen is not None:
        samples = [sample for sample in samples if sample.sample in set(chosen)]
    classes = TokenClasses(vocabulary, bos_ids(decoder.config))
    part = _begun(unfinished, told, batch_tokens)
    chosen_kernel = kernel or ("deferred" if decoder.device.type == "cuda" else "numba")
    while True:
        try:
            passes = _run(model, samples, Watch(sites, chosen_kernel, classes), part, title, unfinished)
            break
        except torch.OutOfMemoryError:
            # What the hooks have seen of that pass is in no state that anybody keeps.
            part = Part(told | {"batch_tokens": part.about["batch_tokens"] // 2}, [], {}, {})
    check_coverage(sites, part, {sample.sample: len(sample.token_ids) for sample in samples})
    return Observed(sites, part, passes)


def _run(
    model: Any, samples: Sequence[Sample], watch: Watch, part: Part, title: str | None, unfinished: Path | None
) -> int:
    """Pass what the part has not yet; returns the number of passes.

    Raises:
        UserError: the memory ran out for one sample.
        torch.OutOfMemoryError: it ran out for several.
    """
    done, decoder = set(part.samples), decoder_of(model)
    batches = [batch for batch in plan(samples, part.about["batch_tokens"]) if batch[0].sample not in done]
    bar = tqdm(
        total=sum(len(sample.token_ids) for sample in samples),
        initial=sum(len(sample.token_ids) for sample in samples if sample.sample in done),
        unit="tok", unit_scale=True, desc=title, disable=title is None, file=sys.stderr, mininterval=1,
    )  # fmt: skip
    watch.states, watch.expert_tokens = part.states, part.expert_tokens
    saved = time.monotonic()
    with watch, bar, deterministic(), torch.inference_mode():
        for batch in batches:
            watch.begin(*batch)
            try:
                decoder(**model_inputs(batch, model.device), use_cache=False)
            except torch.OutOfMemoryError:
                if len(batch) > 1:
                    raise
                told = f"tokens: sample {batch[0].sample} has {len(batch[0].token_ids)} tokens, too many for the memory"
                raise UserError(f"{told} of {model.device}; shorten it, or give the checkpoint more GPUs") from None
            watch.end()
            part.samples += [sample.sample for sample in batch]
            bar.update(sum(len(sample.token_ids) for sample in batch))
            if unfinished is not None and time.monotonic() - saved > SAVE_SECONDS:
                watch.flush()
                part.write(unfinished)
                saved = time.monotonic()
    part.samples.sort()
    return len(batches)


def check_coverage(sites: Sequence[Site], part: Part, tokens: Mapping[int, int]) -> None:
    """Refuse what did not see every token of every sample.

    Args:
        tokens: how many each sample of the part has.

    Raises:
        RuntimeError: names the site.
    """
    expected = sum(tokens[sample] for sample in part.samples)
    for site in sites:
        if site.place is None:
            continue
        state = part.states.get(site.number)
        rows = 0 if state is None else state.rows
        if site.component in INSIDE_EXPERTS and site.layer is not None:
            should = int(part.expert_tokens[site.layer].sum())
        else:
            should = expected
        if rows != should:
            raise RuntimeError(f"{site.component} at layer {site.layer} saw {rows} of {should} tokens")


def bos_ids(config: Any) -> list[int]:
    """The ids of the tokens that begin a text, as the model's configuration says."""
    found = getattr(config, "bos_token_id", None)
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def _begun(unfinished: Path | None, told: Mapping[str, Any], batch_tokens: int | None) -> Part:
    """What is saved of this very measurement, with the budget of its batches or one that it was halved to, or nothing."""
    if unfinished is not None and unfinished.exists():
        try:
            part = read_part(unfinished)
        except UserError:
            part = Part({}, [], {}, {})
        budget = part.about.get("batch_tokens")
        smaller = budget is not None and batch_tokens is not None and budget < batch_tokens
        if part.about == {**told, "batch_tokens": budget} and (smaller or budget == batch_tokens):
            return part
    return Part({**told, "batch_tokens": batch_tokens}, [], {}, {})


def _digest(samples: Sequence[Sample]) -> str:
    text = repr(sorted((sample.sample, sample.split, sample.token_ids) for sample in samples))
    return hashlib.sha256(text.encode()).hexdigest()


def check_samples(samples: Sequence[Sample], config: Any) -> None:
    """Refuse samples that the model cannot take.

    Args:
        config: the decoder's. Without `max_position_embeddings`, as of Mamba and of ALiBi models, or with -1 it sets no
            limit to length.

    Raises:
        UserError: names the sample, counted from 0.
    """
    if not samples:
        raise UserError("tokens: no samples; give at least one")
    vocabulary_size, context = config.vocab_size, getattr(config, "max_position_embeddings", None) or -1
    for sample in samples:
        tokens, name = len(sample.token_ids), f"tokens: sample {sample.sample}"
        if not tokens:
            raise UserError(f"{name} is empty; remove it")
        if 0 < context < tokens:
            raise UserError(f"{name} has {tokens} tokens, the model's context is {context}; shorten it")
        wrong = next((token for token in sample.token_ids if not 0 <= token < vocabulary_size), None)
        if wrong is not None:
            known = f"the model's vocabulary is 0 to {vocabulary_size - 1}; use the model's own tokenizer"
            raise UserError(f"{name} has token id {wrong}, {known}")


@contextmanager
def deterministic() -> Iterator[None]:
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
