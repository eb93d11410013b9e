"""The tables of a study. Real checkpoints come first; planted ones say so in the column `kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from maxact.results.paper_check import FirstLines

LIMITS = {"float16": 65504.0, "e4m3": 448.0, "e5m2": 57344.0}
"""Largest finite value of a format: IEEE 754 binary16; OCP 8-bit floating point (e4m3 has no infinity)."""

PEAK_SITE = "peak residual layer"
WORST_SITE = "site with the largest error"
ONLY_SITE = "only site with errors"

MARKS = ["checkpoint", "kind", "weights", "nonfinite"]
"""The columns that say what a checkpoint is, beside every number of it."""


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


def checkpoints(members: Sequence[Member]) -> pd.DataFrame:
    """What was measured, where it comes from, and whether its weights were loaded rightly."""
    rows = []
    for member in in_order(members):
        check = member.check or {}
        rows.append(
            {
                "checkpoint": member.name,
                "kind": member.kind,
                "role": member.role,
                "family": member.family,
                "model_type": member.summary["model_type"],
                "parameters": member.summary["parameters"],
                "layers": member.summary["layers"],
                "hidden_size": member.summary["hidden_size"],
                "weights": member.summary["ancestry"],
                "source": member.summary["source"],
                "licence": member.summary["licence"],
                "perplexity": check.get("perplexity"),
                "perplexity_ceiling": check.get("ceiling"),
                "samples": member.tokens["samples"],
                "tokens": member.tokens["tokens"],
                "special_tokens": member.tokens["special_tokens"],
                "attention": member.headline["attention"],
                "nonfinite": member.headline["nonfinite"],
            }
        )
    return pd.DataFrame(rows)


def global_maxima(members: Sequence[Member]) -> pd.DataFrame:
    """M of each checkpoint, where it is, and how far it is from the largest value of three formats."""
    rows = []
    for member in in_order(members):
        M, gate = member.headline["M"], member.headline["M_with_gate"]
        row: dict[str, Any] = {"checkpoint": member.name, "kind": member.kind, "weights": member.summary["ancestry"]}
        if M is not None:
            row |= {"M": M["value"], "signed": M["signed"], "component": M["component"], "layer": M["layer"]}
            row |= {key: M[key] for key in ("channel", "sample", "position")}
            row |= {**dict(zip(("token_id", "token"), _token_at(member, M), strict=True)), "M_with_gate": gate["value"]}
            row |= {"ties": ", ".join(site_name(tie["component"], tie["layer"]) for tie in M["ties"])}
            # A checkpoint of nothing but zeros is infinitely far from every limit.
            row |= {f"headroom_{name}": limit / M["value"] if M["value"] else None for name, limit in LIMITS.items()}
        rows.append(row | {"nonfinite": member.headline["nonfinite"]})
    frame = pd.DataFrame(rows)
    integers = [name for name in ("layer", "channel", "sample", "position", "token_id") if name in frame]
    return frame.astype(dict.fromkeys(integers, "Int64"))


def _token_at(member: Member, place: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Id and text of the token at the peak of a site: the first of the site's top."""
    sites = member.sites
    here = (sites.component == place["component"]) & _same_layer(sites.layer, place["layer"])
    first = member.top[member.top.site.isin(sites[here].site) & (member.top["rank"] == 0)]
    if first.empty:
        return None, None
    number, text = first.token_id.iloc[0], first.token.iloc[0]
    return None if pd.isna(number) else int(number), None if pd.isna(text) else str(text)


def _same_layer(layers: pd.Series, layer: int | None) -> pd.Series:
    return layers.isna() if layer is None else layers.eq(layer).fillna(False).astype(bool)


def int8(members: Sequence[Member]) -> pd.DataFrame:
    """The error of each policy at the residual site of largest |x|, as in the paper, and at the site where it is largest.

    Where errors of one site alone are known, as in published results, it is that of `error_site`.
    """
    rows = []
    for member in in_order(members):
        at_peak, peak = error_site(member)
        if member.errors.empty:
            rows.append({**marks(member), "at": "no error is known"})
        for where in dict.fromkeys((at_peak, WORST_SITE) if member.errors.site.nunique() > 1 else (at_peak,)):
            # the policies of one place side by side
            for policy, errors in integer_errors(member).groupby("policy", sort=False):
                known = errors[errors.relative_rmse.notna()]
                found = errors[errors.site == peak] if where != WORST_SITE else known.nlargest(1, "relative_rmse")
                for site in [] if known.empty else found.to_dict("records"):
                    named = {"at": where, "site": site_name(site["component"], site["layer"]), "format": site["format"]}
                    rows.append({**marks(member), **named, "policy": policy, **{key: site[key] for key in _INT8}})
                if known.empty and where == WORST_SITE:  # no finite value: said, not left out
                    rows.append({**marks(member), "at": "nothing finite", "policy": policy})
    return pd.DataFrame(rows, columns=[*MARKS, "at", "site", "format", "policy", *_INT8])


_INT8 = ["threshold", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate"]


def integer_errors(member: Member) -> pd.DataFrame:
    """The errors of the paper's check: whole tensors, the study's first integer format, thresholds from |x| alone."""
    errors = member.errors
    wanted = errors[errors["format"].str.fullmatch(r"int\d+") & errors.policy.str.fullmatch(r"max|quantile_.*")]
    return wanted[wanted["format"] == wanted["format"].iloc[0]] if len(wanted) else wanted


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


def every_error(member: Member) -> pd.DataFrame:
    """Of whole tensors (those that name no granularity), then of scales that fewer elements share."""
    whole = member.errors
    named = whole.get("granularity", pd.Series(None, whole.index, dtype=object))
    whole = whole.assign(granularity=named.astype(object).fillna("tensor"))
    return pd.concat([whole, member.evaluated], ignore_index=True) if len(member.evaluated) else whole


def marks(member: Member) -> dict[str, Any]:
    """What goes with every number of a checkpoint: its name, what it is, and whether some activations were not finite."""
    ancestry = short_ancestry(member.summary["ancestry"])
    return dict(zip(MARKS, (member.name, member.kind, ancestry, member.headline["nonfinite"]), strict=True))


def instrument_check(members: Sequence[Member]) -> pd.DataFrame:
    """The peak that was planted and the one that was measured, and whether they are the same in everything."""
    rows = []
    for member in members:
        if member.kind != "planted":
            continue
        peak, marker = member.summary["peak"], member.summary["marker"]
        truth = {
            "value": peak["value"],
            "component": peak["component"],
            "layer": peak["layer"],
            "channel": peak["channel"],
        }
        truth |= {key: marker[key] for key in ("sample", "position", "token_id")}
        found = _largest_gate(member) if peak["component"] == "gate" else member.headline["M"]
        if found is not None:
            found = {**found, "value": found["signed"], "token_id": _token_at(member, found)[0]}
        measured = {key: (found or {}).get(key) for key in truth}
        row: dict[str, Any] = {
            "checkpoint": member.name,
            "kind": member.kind,
            "model_type": member.summary["model_type"],
            "nonfinite": member.headline["nonfinite"],
        }
        row |= {"verdict": "exact" if measured == truth else "DIFFERS"}
        for key in truth:
            row |= {f"planted_{key}": truth[key], f"measured_{key}": measured[key]}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["checkpoint", "kind", "verdict"])


def _largest_gate(member: Member) -> dict[str, Any] | None:
    gates = member.sites[(member.sites.component == "gate") & member.sites.peak.notna()]
    if gates.empty:
        return None
    first = gates[gates.peak == gates.peak.max()].sort_values("site").iloc[0]
    place = {key: int(first[f"peak_{key}"]) for key in ("channel", "sample", "position")}
    return {"signed": float(first.peak_signed), "component": "gate", "layer": int(first.layer), **place}


def layers(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: a row for each measured site of each checkpoint; one without any has a row without component."""
    columns = ["component", "layer", "peak", "abs_median", "quantile_0.999", "rms", "massive_tokens_passed"]
    parts = []
    for member in in_order(members):
        part = member.sites.loc[member.sites.status == "measured", columns]
        part = part if len(part) else part.reindex([0])
        parts.append(part.assign(**marks(member), layer=part.layer.astype("Int64")))
    return pd.concat(parts, ignore_index=True)
