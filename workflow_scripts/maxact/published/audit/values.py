"""Values as they were recorded: lists of the largest, and the dtype that extremes show."""

from __future__ import annotations

import math
from typing import Any

from maxact.published.audit.finding import Finding, Severity, code, kind_of, names, table
from maxact.published.records import Published, Top


def top_lists(published: Published) -> Finding | None:
    """Lists of the largest values of a checkpoint that provably lack larger ones of some site."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        top = checkpoint.top
        if top is None or not top.global_abs:
            continue
        lacking = _lacking(top)
        if lacking:
            row = {
                "checkpoint": checkpoint.name,
                "listed": len(top.global_abs),
                "different_values": len(set(top.global_abs)),
            }
            sites = sum(
                bool(found.values) and abs(found.values[0]) >= top.global_abs[-1] for found in top.sites.values()
            )
            rows.append(
                {
                    **row,
                    "smallest_listed": top.global_abs[-1],
                    "sites_in_it": sites,
                    "sites_that_have_more": len(lacking),
                }
            )
    if not rows:
        return None
    return Finding(
        "top_lists",
        "The list of largest values is not of the largest values",
        Severity.NUMBER,
        f"Of {len(rows)} of {len(published.checkpoints)} checkpoints global_top5_abs lacks values that are larger than some "
        "in it. It takes the first five of each site, and in the residual stream one activation is at site after site, so "
        "that a list of 100 is of a few activations, repeated. What is computed from it (scan_top5.py: saturation, "
        "concentration, decay) is of them. Shown by the mean of the first k values of a site: the mean of those after the "
        "fifth is above the smallest in the list.",
        f"global_top5_abs, topk_abs_mean, top5_abs; {code('analyze_model.py', 'lines 791 to 800')}; "
        f"{code('scan_top5.py', 'lines 26 to 49')}",
        table(rows),
    )


def _lacking(top: Top) -> list[str]:
    found = []
    for site, values in top.sites.items():
        first = [abs(value) for value in values.values[:5]]
        if values.abs_mean is None or values.k <= len(first):
            continue
        after = (values.k * values.abs_mean - sum(first)) / (values.k - len(first))
        if after > top.global_abs[-1]:
            found.append(site)
    return found


def other_dtype(published: Published) -> Finding | None:
    """Kinds of site with extremes that bfloat16 has not, so that they were computed in another dtype."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        kinds: dict[str, list[str]] = {}
        for site, values in checkpoint.sites.items():
            if not all(_bfloat16(values[end]) for end in ("max", "min") if end in values):
                kinds.setdefault(kind_of(site), []).append(site)
        for kind, sites in kinds.items():
            values = checkpoint.sites[sites[0]]
            extremes = {"max_of_first": values.get("max"), "min_of_first": values.get("min")}
            rows.append(
                {"checkpoint": checkpoint.name, "field": kind, "sites": len(sites), "first": sites[0], **extremes}
            )
    if not rows:
        return None
    in_M = [row["checkpoint"] for row in rows if row["field"] not in ("moe_gate", "router_logits", "mlp_gate")]
    return Finding(
        "other_dtype",
        "Values that are no bfloat16",
        Severity.NUMBER if in_M else Severity.COSMETIC,
        "The files do not tell the dtype of a site. These have extremes that bfloat16 cannot hold, so that they are of "
        "another dtype" + (f", and M of {names(in_M)} ranges over them." if in_M else "; M ranges over none of them."),
        "max and min by site",
        table(rows),
    )


def _bfloat16(value: float) -> bool:
    """Whether it has no more than 8 significant bits (zero and numbers of bfloat16's normal range)."""
    return value == 0 or math.frexp(value)[0] * 256 == int(math.frexp(value)[0] * 256)
