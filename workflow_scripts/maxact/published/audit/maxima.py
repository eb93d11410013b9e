"""The maxima themselves: ties, signs, steps along the layers, and where they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from maxact.published.audit.finding import Finding, M_of, Severity, code, kind_of, layer_of, names, peaks_of_M, table
from maxact.published.checks import peak
from maxact.published.records import Published, PublishedCheckpoint

JUMP = 10.0
"""The ratio from which a step along the layers is an emergence (paper_outline.txt, section 3.3, commit f8db539)."""


FAR = 2.0
"""M by the largest |x| of the residual stream."""

COMMON = 0.1
"""Share of the tokens of a layer."""


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
    with_embedding = 0
    for checkpoint in published.checkpoints:
        by_size, signed = _step(checkpoint, peak), _step(checkpoint, lambda values: values.get("max"))
        if by_size is None or signed is None:
            continue
        counts = [counts[0] + (by_size[0] >= JUMP), counts[1] + (signed[0] >= JUMP)]
        with_embedding += max(by_size[0], _first_step(checkpoint) or 0.0) >= JUMP
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
        f"have one, by the largest x {counts[1]}. The step from the embedding to the first layer is not counted here; in our "
        f"table and figure of emergence it is, and by |x| {with_embedding} of these checkpoints have one with it.",
        "max and min of the residual stream by layer",
        table(rows),
    )


def _step(
    checkpoint: PublishedCheckpoint, of: Callable[[Mapping[str, float]], float | None]
) -> tuple[float, int] | None:
    """The largest ratio of a layer of the residual stream to the one before, and that layer; nothing is before layer 0."""
    stream = {layer_of(site): values for site, values in checkpoint.sites.items() if kind_of(site) == "hidden"}
    layers = [layer for layer in range(checkpoint.layers) if layer in stream]
    found = [(layer, of(stream[layer])) for layer in layers]
    steps = [
        (later / earlier, at)
        for (_, earlier), (at, later) in pairwise(found)
        if earlier is not None and later is not None and earlier > 0
    ]
    return max(steps, key=lambda step: (step[0], -step[1]), default=None)


def _first_step(checkpoint: PublishedCheckpoint) -> float | None:
    """The ratio by |x| of the first layer of the residual stream to the embedding."""
    ends = [peak(checkpoint.sites.get(site, {})) for site in ("embedding_output", "layer_0_hidden")]
    return ends[1] / ends[0] if ends[0] and ends[1] is not None else None


def elsewhere(published: Published) -> Finding | None:
    """Checkpoints whose M is of another component and far above the residual stream."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        M, stream = M_of(checkpoint), _peaks(checkpoint.sites, "hidden")
        if M is not None and stream and max(stream.values()) * FAR <= M:
            first = next(site for site, value in peaks_of_M(checkpoint).items() if value == M)
            row = {"checkpoint": checkpoint.name, "M": M, "site": first, "residual": max(stream.values())}
            rows.append({**row, "M_by_residual": M / max(stream.values())})
    if not rows:
        return None
    return Finding(
        "elsewhere",
        "M of another tensor than that of the others",
        Severity.NUMBER,
        f"Of {names([row['checkpoint'] for row in rows])} M is not in the residual stream, whose own largest |x| is at most "
        "half of it. Where M is compared with that of checkpoints that have it in the residual stream, two kinds of tensor "
        "are compared.",
        "max and min by site",
        table(rows),
    )


def common_massive(published: Published) -> Finding | None:
    """Layers in which the massive-activation test passes for a good part of all tokens."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        shares = {
            site: values["sun_n_pass"] / values["sun_n_tokens"]
            for site, values in checkpoint.sites.items()
            if kind_of(site) == "hidden" and values.get("sun_n_tokens") and "sun_n_pass" in values
        }
        common = [site for site, share in shares.items() if share >= COMMON]
        if common:
            most = max(common, key=lambda site: shares[site])
            row = {"checkpoint": checkpoint.name, "layers": len(shares), "layers_where_common": len(common)}
            rows.append({**row, "most_common_at": most, "share_of_tokens": shares[most]})
    if not rows:
        return None
    return Finding(
        "common_massive",
        "The massive-activation test passes for a good part of all tokens",
        Severity.CONCLUSION,
        f"Massive activations are a few tokens by their definition. Of {names([row['checkpoint'] for row in rows])} at "
        f"least {COMMON:.0%} of all tokens pass in some layer, up to {max(row['share_of_tokens'] for row in rows):.0%}: a "
        "channel that is large on many tokens passes too. A checkpoint counts as one that passes in either case.",
        "sun_n_pass by sun_n_tokens",
        table(rows),
    )


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
