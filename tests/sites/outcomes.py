"""What can be measured of each architecture, as tried on tiny random models, and the page that says so.

`make architectures` runs this module, which writes docs/architectures.md and the README's lines.
"""

from __future__ import annotations

import functools
import logging
import textwrap
import warnings
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sites.architectures import NAMES, NOT_BUILT, build
from sites.checked import check, sums

from maxact.errors import UserError
from maxact.sites import inside_block, inside_mlp, parts, qwen3_5, structural
from maxact.sites.components import COMPONENTS
from maxact.sites.find import Site, decoder_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architectures.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- architectures: written by `make architectures` -->", "<!-- architectures end -->"

VERSION = version("transformers")

NOT_THERE = (
    parts.NO_NORM_AFTER_ATTENTION,
    parts.NO_NORM_AFTER_MLP,
    parts.NO_ROUTER,
    parts.NO_EXPERTS,
    parts.NO_SHARED_EXPERT,
    parts.NO_SHARED_EXPERT_DOWN,
    parts.NO_GATE,
    inside_block.NO_CACHE,
    qwen3_5.NO_CACHE,
    inside_block.NO_ATTENTION,
    inside_block.NO_MLP,
    inside_mlp.NO_GATE_PROJECTION,
    structural.NO_FINAL_NORM,
)
"""Reasons that say that the architecture has no such tensor. Others say that it has, and that it is not reached."""


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture.

    Attributes:
        refused: why nothing is measured; None where something is.
        built: whether a tiny model could be built at all.
        missing: by component, the reasons why it is not reached in some or all layers.
        sums: how a block's output is made.
    """

    name: str
    refused: str | None
    built: bool
    missing: dict[str, tuple[str, ...]]
    sums: str = ""

    @property
    def kind(self) -> str:
        if not self.built:
            return "untried"
        return "refused" if self.refused else "in part" if self.missing else "in full"


@functools.cache
def outcome(name: str) -> Outcome:
    """Build, find and compare. Raises AssertionError where a site is not what it is said to be."""
    if name in NOT_BUILT:
        return Outcome(name, NOT_BUILT[name], False, {})
    try:
        model = build(name)
    except Exception as error:
        return Outcome(name, f"no small model could be built: {_line(error)}", False, {})
    try:
        sites = check(model)
        return Outcome(name, None, True, missing(sites), sums(decoder_of(model), sites))
    except UserError as error:
        return Outcome(name, str(error).split(": ", 1)[1].removesuffix("; no adapter knows where to look"), True, {})


def missing(sites: list[Site]) -> dict[str, tuple[str, ...]]:
    """What the architecture has and is not reached."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for site in sites:
        if site.reason is not None and site.reason not in NOT_THERE and not site.reason.startswith("what is added is "):
            found[site.component][site.reason] = None
    return {name: tuple(found[name]) for name in COMPONENTS if name in found}


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if type(error).__name__.startswith("Strict") and lines else (lines or [type(error).__name__])[0]
    return text if len(text) < 120 else f"{text[:117]}..."


def page(outcomes: list[Outcome]) -> str:
    """docs/architectures.md."""
    by = {kind: [o for o in outcomes if o.kind == kind] for kind in ("in full", "in part", "refused", "untried")}
    text = f"""# Architectures

Written by `make architectures`; a slow test compares it with what is so. A small random model of each of the {len(outcomes)}
causal language models of transformers {VERSION} was built where that can be done, and run on CPU. Every site was compared
with what replaced functions see, the residual stream with the hidden states that the model reports, and gates of experts
with products of tokens and weights. This says where tensors are found; it says nothing of released checkpoints.

## Measured in full ({len(by["in full"])})

Every component that the architecture has:

{_wrapped(_names(by["in full"]))}.

## Measured in part ({len(by["in part"])})

| architecture | not reached |
|---|---|
"""
    text += "".join(f"| {o.name} | {_grouped(o.missing)} |\n" for o in by["in part"])
    otherwise = [o for o in outcomes if o.sums == "neither"]
    sequential, parallel = (sum(o.sums == kind for o in outcomes) for kind in ("sequential", "parallel"))
    adds = f"""In {sequential} architectures a block's output is (input + attention) + MLP, bit for bit, of the updates where a
norm follows and of the outputs elsewhere; in {parallel}, with attention and MLP side by side, it is their sum in another order.
In the other {len(otherwise)} more happens to the stream (a norm after each sum, a factor, a third addend) or a part is not
reached:"""
    text += f"""
## What a block adds

{_wrapped(" ".join(adds.split()))}

{_wrapped(_names(otherwise))}.
"""
    text += f"\n## Refused ({len(by['refused'])})\n\n| architecture | why |\n|---|---|\n"
    text += "".join(f"| {o.name} | {o.refused} |\n" for o in by["refused"])
    text += f"\n## Not tried ({len(by['untried'])})\n\n| architecture | why |\n|---|---|\n"
    text += "".join(f"| {o.name} | {o.refused} |\n" for o in by["untried"])
    return text


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 124, break_long_words=False, break_on_hyphens=False)


def _names(outcomes: list[Outcome]) -> str:
    return ", ".join(o.name for o in outcomes)


def _grouped(found: dict[str, tuple[str, ...]]) -> str:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for component, reasons in found.items():
        for reason in reasons:
            by_reason[reason].append(component)
    return "; ".join(f"{', '.join(components)}: {reason}" for reason, components in by_reason.items())


def summary(outcomes: list[Outcome]) -> str:
    """The README's lines."""
    count = {kind: sum(o.kind == kind for o in outcomes) for kind in ("in full", "in part", "refused", "untried")}
    text = (
        f"Of the {len(outcomes)} causal language models of transformers {VERSION}, {count['in full']} are measured in full, "
        f"{count['in part']} in part, {count['refused']} are refused with a reason, and of {count['untried']} no small model "
        "could be built to try: [which, and why](docs/architectures.md). The families of the paper have adapters of their "
        "own, the others are looked into by a trial pass."
    )
    return _wrapped(text) + "\n"


def with_summary(readme: str, lines: str) -> str:
    """The README with its lines between the markers."""
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{lines}{END}{rest.split(END)[1]}"


def main() -> None:
    """Write page and README."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    outcomes = [outcome(name) for name in NAMES]
    PAGE.write_text(page(outcomes), encoding="utf-8")
    README.write_text(with_summary(README.read_text(encoding="utf-8"), summary(outcomes)), encoding="utf-8")


if __name__ == "__main__":
    main()
