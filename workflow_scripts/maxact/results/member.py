"""One checkpoint as the tables have it: all that is known of it, how it is named, and which of its numbers stand for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from maxact.histogram import Codes, Counts

PEAK_SITE = "peak residual layer"
WORST_SITE = "site with the largest error"
ONLY_SITE = "only site with errors"

MARKS = ["checkpoint", "kind", "weights", "nonfinite"]
"""The columns that say what a checkpoint is, beside every number of it."""


@dataclass(frozen=True)
class FirstLines:
    """What the stage `paper_check` has seen.

    Attributes:
        histograms: split, code, count.
        summary: layer and dtype of the site, domains by set of samples and split.
    """

    histograms: pd.DataFrame
    summary: Mapping[str, Any]

    def of(self, split: str) -> tuple[Codes, Counts]:
        """The histogram of one of the two sets."""
        rows = self.histograms[self.histograms.split == split]
        return rows["code"].to_numpy(np.uint16), rows["count"].to_numpy(np.int64)


@dataclass(frozen=True)
class Member:
    """All that is known of one checkpoint.

    Attributes:
        summary: of the checkpoint: model_type, layers, planted, ancestry, licence, peak and marker if planted, ...
        headline: M and M_with_gate with their places, and the count of non-finite values.
        sites, top, errors, bits, curves: the tables of measurement and quantization.
        first_lines: what the paper's check has seen, where the study has it (`paper_check.py`).
        tokens: summary of the tokens it was measured on.
        check: perplexity, tokens and ceiling of the loading check; None for a planted checkpoint.
        samples, classes: the largest |x| of each sample and class of tokens, over the sites of M (`samples.py`).
        experts: the table of the measurement.
        witnesses: what stands where each component is largest (`witnesses.py`).
        evaluated: errors of scales by channel, token, group and block; empty where the checkpoint is not evaluated.
        protection: errors with some elements kept as they are; empty likewise.
        smoothing: what SmoothQuant reaches; empty where the study does not ask it.
        role: main, instruct (tuned from a main one) or stage (of the training of one).
        perplexity, quantized: with quantized activations, and at which sites; None where the study does not ask it.
        subsets: M of random subsets of the samples, which published results have: size, repetition, M, component, layer.

    Published results lack much of this: what is not known is None, and the tables are empty.
    """

    name: str
    family: str
    summary: Mapping[str, Any]
    headline: Mapping[str, Any]
    sites: pd.DataFrame
    top: pd.DataFrame
    errors: pd.DataFrame
    bits: pd.DataFrame
    curves: pd.DataFrame
    check: Mapping[str, Any] | None
    tokens: Mapping[str, Any]
    samples: pd.DataFrame
    classes: pd.DataFrame
    experts: pd.DataFrame
    witnesses: pd.DataFrame
    evaluated: pd.DataFrame = field(default_factory=pd.DataFrame)
    protection: pd.DataFrame = field(default_factory=pd.DataFrame)
    smoothing: pd.DataFrame = field(default_factory=pd.DataFrame)
    role: str = "main"
    perplexity: pd.DataFrame | None = None
    quantized: pd.DataFrame | None = None
    subsets: pd.DataFrame = field(default_factory=pd.DataFrame)
    first_lines: FirstLines | None = None

    @property
    def kind(self) -> str:
        return "planted" if self.summary["planted"] else "real"

    @property
    def published(self) -> bool:
        """Whether its numbers were read from published files, not measured here."""
        return "published_name" in self.sites


def in_order(members: Sequence[Member]) -> list[Member]:
    """Real checkpoints first, each kind in the order of the study."""
    return sorted(members, key=lambda member: member.kind == "planted")


def short_ancestry(ancestry: str) -> str:
    """What a checkpoint's weights were before, without the counts of tensors: goes wherever its numbers show."""
    return ancestry.partition(" (")[0]


def site_name(component: str, layer: Any) -> str:
    """A site as `residual@11`; the component alone where it exists once."""
    return component if layer is None or pd.isna(layer) else f"{component}@{int(layer)}"


def marks(member: Member) -> dict[str, Any]:
    """What goes with every number of a checkpoint: its name, what it is, and whether some activations were not finite."""
    ancestry = short_ancestry(member.summary["ancestry"])
    return dict(zip(MARKS, (member.name, member.kind, ancestry, member.headline["nonfinite"]), strict=True))


def peak_residual(member: Member) -> int | None:
    """The number of the residual site with the largest |x|, the first of equal ones; None where no |x| is finite."""
    residual = member.sites[(member.sites.component == "residual") & member.sites.peak.notna()]
    return int(residual.site[residual.peak == residual.peak.max()].min()) if len(residual) else None


def error_site(member: Member) -> tuple[str, int | None]:
    """What a checkpoint's quantization error is taken at, and the number of that site.

    It is the residual site of largest |x|. Where errors of one other site alone are known, as published results have the
    final norm of a checkpoint whose M stands there, it is that one. The number is None where there is none.
    """
    peak, known = peak_residual(member), member.errors.site.unique()
    if len(known) == 1 and known[0] != peak:
        return ONLY_SITE, int(known[0])
    return PEAK_SITE, peak


def integer_errors(member: Member) -> pd.DataFrame:
    """The errors of the paper's check: whole tensors, the study's first integer format, thresholds from |x| alone."""
    errors = member.errors
    wanted = errors[errors["format"].str.fullmatch(r"int\d+") & errors.policy.str.fullmatch(r"max|quantile_.*")]
    return wanted[wanted["format"] == wanted["format"].iloc[0]] if len(wanted) else wanted


def every_error(member: Member) -> pd.DataFrame:
    """Of whole tensors (those that name no granularity), then of scales that fewer elements share."""
    whole = member.errors
    named = whole.get("granularity", pd.Series(None, whole.index, dtype=object))
    whole = whole.assign(granularity=named.astype(object).fillna("tensor"))
    return pd.concat([whole, member.evaluated], ignore_index=True) if len(member.evaluated) else whole
