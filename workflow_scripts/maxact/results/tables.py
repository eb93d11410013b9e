"""Tables that show what was measured: checkpoints, M, INT-8 errors, planted peaks, sites.

Real checkpoints come first; planted ones say so in the column `kind`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.results.member import MARKS, WORST_SITE, Member, error_site, in_order, integer_errors, marks, site_name

LIMITS = {"float16": 65504.0, "e4m3": 448.0, "e5m2": 57344.0}
"""Largest finite value of a format: IEEE 754 binary16; OCP 8-bit floating point (e4m3 has no infinity)."""


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
    """For figures: a row for each measured site of each checkpoint; one without any has a row without component.

    `holds` and `contradicted` are of published results (`published/tables.py`).
    """
    columns = ["component", "layer", "peak", "abs_median", "quantile_0.999", "rms", "massive_tokens_passed"]
    of_published = ["holds", "contradicted"]
    parts = []
    for member in in_order(members):
        part = member.sites.loc[member.sites.status == "measured"].reindex(columns=[*columns, *of_published])
        part = part if len(part) else part.reindex([0])
        part = part.assign(
            holds=part.holds.astype("str").where(part.holds.notna()), contradicted=part.contradicted.eq(True)
        )
        parts.append(part.assign(**marks(member), layer=part.layer.astype("Int64")))
    return pd.concat(parts, ignore_index=True)
