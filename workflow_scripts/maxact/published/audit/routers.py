"""Routers of mixtures of experts: what is recorded under one name, and over which positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maxact.published.audit.finding import Finding, Severity, code, kind_of, names, table
from maxact.published.records import Published, PublishedCheckpoint, tokens_of
from maxact.published.routers import ROUTERS, held

TAKEN = {
    "moe_gate": "moe_gate: what the router's module returns, of a tuple the first",
    "router_logits": "router_logits: the second thing that the block of experts returns, and of a tuple its first",
}
"""Which output the hooks take (analyze_model.py, lines 511 to 537)."""


def router_outputs(published: Published) -> Finding | None:
    """Routers whose recorded values are indices of experts, or probabilities, and no scores."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        for kind in ROUTERS:
            found = [values for site, values in checkpoint.sites.items() if kind_of(site) == kind]
            kinds = {what for values in found if (what := held(values, tokens_of(checkpoint))) is not None}
            faulty = [values for values in found if held(values, tokens_of(checkpoint)) is not None]
            if not faulty:
                continue
            extremes = {"min": min(x["min"] for x in faulty), "max": max(x["max"] for x in faulty)}
            row = {
                "checkpoint": checkpoint.name,
                "model_type": checkpoint.model_type,
                "field": kind,
                "layers": len(faulty),
            }
            rows.append(
                {**row, "holds": " and ".join(sorted(kinds)), **extremes, "width": _width(faulty[0], checkpoint)}
            )
    if not rows:
        return None
    pairs = sorted({(row["holds"], row["field"]) for row in rows})
    what = "; ".join(
        f"{holds} in {field} of "
        + names([row["checkpoint"] for row in rows if (row["holds"], row["field"]) == (holds, field)])
        for holds, field in pairs
    )
    taken = "; ".join(TAKEN[field] for field in ROUTERS if field in {row["field"] for row in rows})
    others = ", nor with each other" if len({row["holds"] for row in rows}) > 1 else ""
    return Finding(
        "router_outputs",
        "Router outputs recorded as gates",
        Severity.CONCLUSION,
        f"What is recorded of a router is what the architecture's code returns at one place ({taken}): here {what}. Indices "
        "are whole numbers from 0, probabilities are between 0 and 1 and add up to one over the width. Their maxima cannot "
        f"be compared with those of scores before the softmax{others}.",
        f"fields moe_gate and router_logits; {code('analyze_model.py', 'lines 511 to 537')}",
        table(rows),
    )


def _width(values: Mapping[str, float], checkpoint: PublishedCheckpoint) -> int | None:
    tokens = tokens_of(checkpoint)
    return round(values["count"] / tokens) if tokens else None


def padding_counted(published: Published) -> Finding | None:
    """Routers with more positions than there are tokens."""
    rows = list(_padded(published))
    if not rows:
        return None
    return Finding(
        "padding_counted",
        "Padding counted in router statistics",
        Severity.NUMBER,
        f"Of {names(sorted({row['checkpoint'] for row in rows}))} the number of router values is that of more positions "
        "than there are tokens. Routers return one row for each position of the padded batch, whose shape is not that of "
        "the mask, so nothing is masked: padding is in their means and may be their maximum.",
        f"count of router sites against sun_n_tokens; {code('analyze_model.py', 'lines 250 and 314 to 326')}",
        table(rows),
    )


def _padded(published: Published) -> Iterator[dict[str, Any]]:
    for checkpoint in published.checkpoints:
        tokens = tokens_of(checkpoint)
        for kind in ROUTERS if tokens else ():
            found = [x["count"] for site, x in checkpoint.sites.items() if kind_of(site) == kind and "count" in x]
            # The width is the number nearest to the count by tokens: padding is far less than one token in each.
            further = {count / round(count / tokens) - tokens for count in found if tokens and count >= tokens}
            excess = {value for value in further if value > 0 and value == int(value)}
            if excess:
                row = {"checkpoint": checkpoint.name, "field": kind, "layers": len(found), "tokens": tokens}
                yield {**row, "positions_that_are_no_token": int(max(excess)), "share": max(excess) / (tokens or 1)}
