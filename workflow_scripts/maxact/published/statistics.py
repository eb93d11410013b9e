"""A `*_activation_stats.json`: the statistics of every site of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from maxact.published.checks import COUNTS, contradictions, fields_of, impossible, peak
from maxact.published.document import Document
from maxact.published.names import ONCE, PER_LAYER, carries_M, component_and_layer
from maxact.published.records import PublishedCheckpoint

KEYS = (
    *("model_name", "model_path", "model_type", "num_hidden_layers", "hidden_size", "data_path", "num_samples"),
    *("max_seq_len", "global_max_activation", "global_max_location", "per_layer_stats"),
)

LAYERS = 5_000
"""A file that says more is wrong: each is looked for, and tables number sites in 16 bits."""


def read_statistics(document: Document, series: str) -> PublishedCheckpoint | None:
    """The model in the file; None where it cannot be told which model it is or how many layers it has."""
    if document.content is None or not document.mapping(document.content, ""):
        return None
    document.only(document.content, KEYS)
    name, model_type = document.name("model_name"), document.text("model_type")
    layers, hidden_size = document.count("num_hidden_layers", most=LAYERS), document.count("hidden_size")
    samples = document.count("num_samples")
    if name is None or model_type is None or layers is None or hidden_size is None or samples is None:
        document.problem("", "left out, as a field that it cannot do without is missing")
        return None
    sites = _sites(document)
    doubts = _consistent(document, sites, hidden_size)
    _complete(document, sites, layers)
    _same_tokens(document, sites)
    signed = document.number(document.content, "global_max_activation", "global_max_activation")
    location = document.text("global_max_location") or ""
    _check_maximum(document, sites, signed, location)
    return PublishedCheckpoint(
        name=name,
        series=series,
        model_type=model_type,
        layers=layers,
        hidden_size=hidden_size,
        samples=samples,
        max_sequence_length=document.count("max_seq_len"),
        data_path=document.text("data_path") or "",
        global_maximum=signed,
        global_maximum_location=location,
        sites=sites,
        doubts=doubts,
        top=None,
        file=document.file,
    )


def _sites(document: Document) -> dict[str, dict[str, float]]:
    """Finite statistics by site and field, in order of the file."""
    sites: dict[str, dict[str, float]] = {}
    for site, written in document.mapping(document.content.get("per_layer_stats"), "per_layer_stats").items():
        at = f"per_layer_stats.{site}"
        if component_and_layer(site) is None:
            document.problem(at, "a site of unknown name; left out")
            continue
        known, values = fields_of(site), document.mapping(written, at)
        document.only(values, known, at)
        read = {field: _number(document, values, field, f"{at}.{field}") for field in known}
        sites[site] = {field: float(value) for field, value in read.items() if value is not None}
        for fields, what in list(impossible(sites[site])):
            document.problem(f"{at}.{fields[0]}", what)
            for field in fields:
                del sites[site][field]
        tokens, passed = (sites[site].get(field) for field in ("sun_n_tokens", "sun_n_pass"))
        if passed is not None and (not tokens or passed > tokens):
            of = "unknown" if tokens is None else f"{tokens:.0f}"
            document.problem(f"{at}.sun_n_pass", f"{passed:.0f} is no number of {of} tokens")
            del sites[site]["sun_n_pass"]
    return sites


def _number(document: Document, values: Mapping[str, Any], field: str, at: str) -> float | None:
    if field in COUNTS:
        return document.whole(values, field, at, least=COUNTS[field])
    return document.number(values, field, at)


def _consistent(document: Document, sites: Mapping[str, Mapping[str, float]], hidden_size: int) -> dict[str, float]:
    """No site contradicts itself; a width that is not `hidden_size` and is that of most sites is a fault of the header alone.

    Returns:
        see `PublishedCheckpoint.doubts`.
    """
    widths = [
        values["count"] / values["sun_n_tokens"]
        for values in sites.values()
        if values.get("count") and values.get("sun_n_tokens")
    ]
    usual, times = Counter(widths).most_common(1)[0] if widths else (float(hidden_size), 0)
    if usual != hidden_size and 2 * times > len(widths) > 1 and usual == int(usual):
        what = f"{hidden_size}, but count by sun_n_tokens is {usual:.0f} at {times} of {len(widths)} sites"
        document.problem("hidden_size", what, "warning")
        hidden_size = int(usual)
    doubts: dict[str, float] = {}
    for site, values in sites.items():
        for found in contradictions(values, hidden_size):
            document.problem(f"per_layer_stats.{site}.{found.field}", found.what, "warning")
            if found.largest is not None:
                doubts[site] = max(doubts.get(site, 0.0), found.largest)
    return doubts


def _complete(document: Document, sites: Mapping[str, object], layers: int) -> None:
    """Each layer has the four sites of a block, a gate being one of the dense MLP or of the router; nothing is beyond."""
    for site in ONCE:
        if site not in sites:
            document.problem(f"per_layer_stats.{site}", "missing")
    present: dict[int, set[str]] = {}
    for site in sites:
        _, layer = component_and_layer(site) or ("", None)
        if layer is not None:
            present.setdefault(layer, set()).add(site.removeprefix(f"layer_{layer}_"))
    for layer in range(layers):
        here = present.get(layer, set())
        if not here:
            document.problem(f"per_layer_stats.layer_{layer}", f"missing: layer {layer} of {layers}")
            continue
        for kind in PER_LAYER:
            if kind not in here and kind not in ("mlp_gate", "moe_gate", "router_logits"):
                document.problem(f"per_layer_stats.layer_{layer}_{kind}", "missing")
        if not here & {"mlp_gate", "moe_gate"}:
            document.problem(f"per_layer_stats.layer_{layer}", "neither mlp_gate nor moe_gate")
    for layer in sorted(layer for layer in present if layer >= layers):
        what = f"num_hidden_layers is {layers}, so there is no layer {layer} in the decoder"
        document.problem(f"per_layer_stats.layer_{layer}", what, "left out")


def _same_tokens(document: Document, sites: Mapping[str, Mapping[str, float]]) -> None:
    tokens = {site: values["sun_n_tokens"] for site, values in sites.items() if "sun_n_tokens" in values}
    if not tokens:
        return
    usual = Counter(tokens.values()).most_common(1)[0][0]
    for site, number in tokens.items():
        if number != usual:
            field = f"per_layer_stats.{site}.sun_n_tokens"
            document.problem(field, f"{number:.0f}, but most sites have {usual:.0f}", "warning")


def _check_maximum(
    document: Document, sites: Mapping[str, Mapping[str, float]], signed: float | None, location: str
) -> None:
    """The global maximum is the largest |x| of the sites that it ranges over, and stands where the file says."""
    peaks = {site: size for site, values in sites.items() if carries_M(site) and (size := peak(values)) is not None}
    if signed is not None and peaks and abs(signed) != max(peaks.values()):
        site = max(peaks, key=lambda site: peaks[site])
        what = f"{signed:g}, but the largest |x| of the sites is {peaks[site]:g} ({site})"
        document.problem("global_max_activation", what, "warning")
    site, _, extreme = location.partition(" ")
    if location and (site not in sites or extreme not in ("(max)", "(min)")):
        document.problem("global_max_location", f"{location!r} is no site of the file", "warning")
    elif location and signed is not None and sites[site].get(extreme.strip("()"), signed) != signed:
        what = f"{location!r} has {sites[site][extreme.strip('()')]:g}, not {signed:g}"
        document.problem("global_max_location", what, "warning")
