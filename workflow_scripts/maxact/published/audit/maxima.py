"""The maxima themselves: ties, signs, steps along the layers, and the lists of largest values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from maxact.published.audit.finding import Finding, M_of, Severity, code, kind_of, layer_of, names, peaks_of_M, table
from maxact.published.checks import peak
from maxact.published.records import Published, PublishedCheckpoint, Top

JUMP = 10.0
"""The ratio from which a step along the layers is an emergence (paper_outline.txt, section 3.3, commit f8db539)."""


def spacing(value: float) -> float:
    """The distance of a number to the next larger one that bfloat16 has, for normal numbers."""
    return math.ldexp(1.0, math.frexp(abs(value))[1] - 8) if value else 0.0


def ties(published: Published) -> Finding | None:
    """Checkpoints whose M stands at several sites."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        peaks, M = peaks_of_M(checkpoint), M_of(checkpoint)
        tied = [site for site, value in peaks.items() if value == M]
        if M is None or len(tied) < 2:
            continue
        kinds = list(dict.fromkeys(kind_of(site) for site in tied))
        near = sum(value >= M - spacing(M) for value in peaks.values())
        row = {
            "checkpoint": checkpoint.name,
            "M": M,
            "first": tied[0],
            "sites": len(tied),
            "components": ", ".join(kinds),
        }
        rows.append({**row, "bfloat16_spacing": spacing(M), "sites_within_one_spacing": near})
    if not rows:
        return None
    moved = [row["checkpoint"] for row in rows if ", " in row["components"]]
    words = (
        f"of {names(moved)} the tied sites are of different components"
        if moved
        else "all tied sites are of one component"
    )
    return Finding(
        "ties",
        "M stands at several sites",
        Severity.CONCLUSION if moved else Severity.NUMBER,
        f"Of {len(rows)} of {len(published.checkpoints)} checkpoints several sites have exactly M, which has 8 significant "
        f"bits; {words}. The files name the first in order of the file, so layer and component of M depend on that order.",
        f"max and min by site; {code('analyze_model.py', 'lines 735 to 746')}",
        table(rows),
    )


def sign_tied(published: Published) -> Finding | None:
    """Sites of M where a positive and a negative value are equally far from zero."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        M = M_of(checkpoint)
        for site, values in checkpoint.sites.items():
            if (
                M
                and {"max", "min"} <= values.keys()
                and site in peaks_of_M(checkpoint)
                and values["max"] == -values["min"] == M
            ):
                rows.append({"checkpoint": checkpoint.name, "site": site, "max": values["max"], "min": values["min"]})
    if not rows:
        return None
    return Finding(
        "sign_tied",
        "M with both signs",
        Severity.COSMETIC,
        f"Of {names([row['checkpoint'] for row in rows])} M and -M both occur at the site of M. The files name the positive "
        "one; counts of checkpoints by the sign of M depend on that.",
        f"max and min by site; {code('analyze_model.py', 'lines 739 to 746')}",
        table(rows),
    )


def emergence_by_sign(published: Published) -> Finding | None:
    """Checkpoints whose largest step along the residual stream is elsewhere, or no emergence, where the sign is kept."""
    rows: list[dict[str, Any]] = []
    counts = [0, 0]
    for checkpoint in published.checkpoints:
        by_size, signed = _step(checkpoint, peak), _step(checkpoint, lambda values: values.get("max"))
        if by_size is None or signed is None:
            continue
        counts = [counts[0] + (by_size[0] >= JUMP), counts[1] + (signed[0] >= JUMP)]
        elsewhere = by_size[1] != signed[1] and max(by_size[0], signed[0]) >= JUMP
        if elsewhere or (by_size[0] >= JUMP) != (signed[0] >= JUMP):
            row = {"checkpoint": checkpoint.name, "step_of_abs": by_size[0], "layer_of_abs": by_size[1]}
            rows.append({**row, "step_of_max": signed[0], "layer_of_max": signed[1]})
    if not rows:
        return None
    lines = [
        f"of {row['checkpoint']} the largest x rises {row['step_of_max']:.3g} times at layer {row['layer_of_max']}, the "
        f"largest |x| {row['step_of_abs']:.4g} times at layer {row['layer_of_abs']}"
        for row in rows
    ]
    return Finding(
        "emergence_by_sign",
        "Emergence that depends on the sign",
        Severity.CONCLUSION,
        f"Where the largest activation comes up depends on whether the sign is kept: {'; '.join(lines)}. An emergence is a "
        f"step of {JUMP:g} times or more from a layer of the residual stream to the next: by |x| {counts[0]} checkpoints "
        f"have one, by the largest x {counts[1]}.",
        "max and min of the residual stream by layer",
        table(rows),
    )


def _step(
    checkpoint: PublishedCheckpoint, of: Callable[[Mapping[str, float]], float | None]
) -> tuple[float, int] | None:
    """The largest ratio of a layer of the residual stream to the one before, and that layer."""
    stream = {layer_of(site): values for site, values in checkpoint.sites.items() if kind_of(site) == "hidden"}
    layers = [layer for layer in range(checkpoint.layers) if layer in stream]
    found = [(layer, of(stream[layer])) for layer in layers]
    steps = [
        (later / earlier, at)
        for (_, earlier), (at, later) in pairwise(found)
        if earlier is not None and later is not None and earlier > 0
    ]
    return max(steps, key=lambda step: (step[0], -step[1]), default=None)


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


def gates_above(published: Published) -> Finding | None:
    """Checkpoints with a gate above M."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        M, gates = M_of(checkpoint), _peaks(checkpoint.sites, "mlp_gate")
        if M is not None and gates and max(gates.values()) > M:
            site = max(gates, key=lambda name: gates[name])
            rows.append({"checkpoint": checkpoint.name, "M": M, "gate": gates[site], "site": site})
    if not rows:
        return None
    return Finding(
        "gates_above",
        "A gate is larger than M",
        Severity.NUMBER,
        f"M is said to be over gates too, and is computed without them; of {names([row['checkpoint'] for row in rows])} a "
        "gate is larger.",
        f"mlp_gate against the other sites; {code('analyze_model.py', 'lines 730 to 738')}",
        table(rows),
    )


def _peaks(sites: Mapping[str, Mapping[str, float]], kind: str) -> dict[str, float]:
    found = {site: peak(values) for site, values in sites.items() if kind_of(site) == kind}
    return {site: value for site, value in found.items() if value is not None}


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
