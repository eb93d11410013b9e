"""A `*_top5_stats.json`: the elements of largest |x|, of each site that M ranges over and of all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maxact.published.checks import Contradiction, peak
from maxact.published.document import Document
from maxact.published.names import carries_M
from maxact.published.records import EVERYWHERE, PublishedCheckpoint, Top, TopOfSite
from maxact.published.statistics import KEYS

MEANS = ("topk_abs_mean", "topk_signed_mean", "top5_abs_mean", "top5_signed_mean")
LISTS = tuple(f"{name}_{kind}" for name in ("topk", "top5", "top10", "top100") for kind in ("abs", "signed"))
GLOBAL = ("global_top5_abs", "global_top5_signed", "global_top5_abs_mean")
_CLOSE = 1e-6


def read_top(document: Document) -> tuple[str, Top] | None:
    """Model and its largest values; None where it cannot be told which model it is."""
    if document.content is None or not document.mapping(document.content, ""):
        return None
    document.only(document.content, {*KEYS, *GLOBAL} - {"global_max_activation", "global_max_location"})
    name = document.name("model_name")
    if name is None:
        return None
    sites = {}
    for site, written in document.mapping(document.content.get("per_layer_stats"), "per_layer_stats").items():
        at = f"per_layer_stats.{site}"
        if not carries_M(site):
            document.problem(at, "no site that has largest values; left out")
        elif (found := _site(document, document.mapping(written, at), at)) is not None:
            sites[site] = found
    everywhere = _signed(document, document.content, "global_top5", "global_top5") or ()
    mean = document.number(document.content, "global_top5_abs_mean", "global_top5_abs_mean")
    _check_mean(document, "global_top5_abs_mean", mean, [abs(value) for value in everywhere])
    return name, Top(document.file, sites, tuple(map(abs, everywhere)), everywhere)


def top_contradictions(checkpoint: PublishedCheckpoint, top: Top) -> Iterator[tuple[str, Contradiction]]:
    """Fields of a model's largest values that contradict its statistics, or that are missing, each with its site."""
    peaks = {site: peak(values) for site, values in checkpoint.sites.items() if carries_M(site)}
    for site, largest in peaks.items():
        if site not in top.sites:
            yield site, Contradiction(f"per_layer_stats.{site}", "missing, but the site has statistics")
        elif largest is not None and abs(top.sites[site].values[0]) != largest:
            found = abs(top.sites[site].values[0])
            field, what = f"per_layer_stats.{site}.top5_abs[0]", f"{found:g}, but the statistics have {largest:g}"
            yield site, Contradiction(field, what, found)
    everywhere = max((largest for largest in peaks.values() if largest is not None), default=None)
    if top.global_abs and everywhere is not None and top.global_abs[0] != everywhere:
        what = f"{top.global_abs[0]:g}, but the statistics have {everywhere:g}"
        yield EVERYWHERE, Contradiction("global_top5_abs[0]", what)


def _site(document: Document, values: Mapping[str, Any], at: str) -> TopOfSite | None:
    document.only(values, {"top_k", *MEANS, *LISTS}, at)
    first = _signed(document, values, "top5", f"{at}.top5")
    if not first:
        return None
    means = {name: document.number(values, name, f"{at}.{name}") for name in MEANS}
    k = document.whole(values, "top_k", f"{at}.top_k")
    _check_mean(document, f"{at}.top5_abs_mean", means["top5_abs_mean"], [abs(value) for value in first])
    _check_mean(document, f"{at}.top5_signed_mean", means["top5_signed_mean"], first)
    everything = first
    if "topk_abs" in values:
        everything = _signed(document, values, "topk", f"{at}.topk") or first
        if everything[: len(first)] != first:
            document.problem(f"{at}.topk_signed", "does not begin with top5_signed", "warning")
        _check_mean(document, f"{at}.topk_abs_mean", means["topk_abs_mean"], [abs(value) for value in everything])
        _check_mean(document, f"{at}.topk_signed_mean", means["topk_signed_mean"], everything)
    return TopOfSite(everything, k or len(everything), means["topk_abs_mean"])


def _signed(document: Document, values: Mapping[str, Any], name: str, at: str) -> tuple[float, ...] | None:
    """The signed list of a pair `<name>_abs`, `<name>_signed` that agree and descend."""
    sizes = document.numbers(values, f"{name}_abs", f"{at}_abs")
    signed = document.numbers(values, f"{name}_signed", f"{at}_signed")
    if sizes is None or signed is None:
        return None
    if [abs(value) for value in signed] != list(sizes):
        document.problem(f"{at}_signed", f"is not {name}_abs with signs", "warning")
    if list(sizes) != sorted(sizes, reverse=True):
        document.problem(f"{at}_abs", "is not in descending order", "warning")
    return signed


def _check_mean(document: Document, at: str, mean: float | None, values: list[float] | tuple[float, ...]) -> None:
    if mean is None or not values:
        return
    expected = sum(values) / len(values)
    if abs(mean - expected) > _CLOSE * max(map(abs, values)):
        document.problem(at, f"{mean:g}, but the values' mean is {expected:g}", "warning")
