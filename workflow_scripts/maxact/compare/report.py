"""Compare two measurements, and tell it: to people as text, to machines as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maxact.compare.samples import SamplePair, compare_samples, paired
from maxact.compare.sides import SETTINGS, Side, known_same, open_side
from maxact.compare.sites import TOLERANCES, Compared, SitePair, compare_sites, lacking
from maxact.errors import UserError
from maxact.sites.components import COMPONENTS

WORST = 15
"""How many sites the text shows."""

_DIGESTS = ("weights", "corpus", "tokens", "measuring code")
"""Settings that are digests: that they differ is told, not how."""


@dataclass(frozen=True)
class Comparison:
    """Two measurements beside each other.

    Attributes:
        settings: what decides a measurement and is not the same, in words; and what is not known of one of them.
        sites: those that both measured.
        only_a, only_b: those that one side alone measured, and why the other has none.
        pairing: which samples are paired, in words.
        samples: of paired samples: M first, then each site.
        strict: whether sites and statistics that one side alone has make them differ.
    """

    a: Side
    b: Side
    tolerances: Mapping[str, float]
    settings: tuple[str, ...]
    sites: tuple[SitePair, ...]
    only_a: tuple[tuple[str, str], ...]
    only_b: tuple[tuple[str, str], ...]
    pairing: str
    samples: tuple[SamplePair, ...]
    strict: bool

    @property
    def differs(self) -> bool:
        """Whether a statistic of a site is apart beyond its tolerance, a site has gone, or by `strict` one side lacks one."""
        # A site that the other architecture has not is a difference; one that was not asked for is told.
        gone = any(why.startswith("not applicable") for _, why in (*self.only_a, *self.only_b))
        lacks = self.strict and (bool(self.only_a or self.only_b) or any(site.one_sided for site in self.sites))
        return gone or lacks or any(site.differs for site in self.sites)


def compare(a: str, b: str, root: Path, tolerances: Mapping[str, float], strict: bool = False) -> Comparison:
    """Compare two measurements by what the user calls them (`open_side`).

    Raises:
        UserError: one cannot be opened, or they have nothing in common.
    """
    sides = open_side(a, root), open_side(b, root)
    tables = [side.table("sites") for side in sides]
    histograms = [side.table("histograms") if "histograms" in side.files else None for side in sides]
    sites = compare_sites(tables[0], tables[1], (histograms[0], histograms[1]), tolerances)
    if not any(item.difference is not None for site in sites for item in site.statistics):
        raise UserError(f"{a} and {b}: no site has a value on both sides, so there is nothing to compare")
    pairs, pairing = paired(*sides)
    samples: list[SamplePair] = []
    if len(pairs):
        samples = compare_samples(
            sides[0].table("samples"), sides[1].table("samples"), pairs, sites, tolerances["peak"]
        )
    return Comparison(
        a=sides[0],
        b=sides[1],
        tolerances=tolerances,
        settings=tuple(differing_settings(*sides, *tables)),
        sites=tuple(sites),
        only_a=tuple(lacking(tables[0], tables[1])),
        only_b=tuple(lacking(tables[1], tables[0])),
        pairing=pairing,
        samples=tuple(samples),
        strict=strict,
    )


def differing_settings(a: Side, b: Side, mine: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[str]:
    """What decides a measurement and is not the same, or not known of one side, in words."""
    if a.planted != b.planted:
        yield f"one is planted: {(a if a.planted else b).checkpoint} says nothing about released models"
    untold: list[str] = []
    for setting in SETTINGS:
        values = [side.settings.get(setting) for side in (a, b)]
        if values == [None, None]:
            continue
        if None in values:
            yield f"{setting}: not known of {'A' if values[0] is None else 'B'}"
        elif setting in _DIGESTS and known_same(setting, a, b):
            continue
        elif setting in _DIGESTS and a.study != b.study:
            untold.append(setting)
        elif values[0] != values[1]:
            yield f"other {setting}" if setting in _DIGESTS else f"other {setting}: A {values[0]}, B {values[1]}"
    if untold:
        yield (
            f"not known to be the same: {', '.join(untold)}, as a study and a folder of tables note them in different "
            "ways; measure both in one way to know"
        )
    for letter, sites in (("A", mine), ("B", theirs)):
        if "approximate" in sites.columns and sites["approximate"].fillna(False).any():
            yield f"median and quantiles of {letter} are right to the width of a bin of the published histograms"
    totals = [_tokens(sites) for sites in (mine, theirs)]
    if totals[0] != totals[1]:
        told = ["not known" if total is None else f"{total:,}" for total in totals]
        yield f"other number of tokens: A {told[0]}, B {told[1]}"
    unknown = [setting for setting in ("weights", "tokens") if not (a.settings.get(setting) or b.settings.get(setting))]
    if unknown:
        yield f"{' and '.join(unknown)}: not known of either"


def _tokens(sites: pd.DataFrame) -> int | None:
    """Tokens of the residual stream, which every measurement has."""
    found = sites["tokens"][sites["component"] == "residual"].dropna()
    return None if found.empty else int(found.iloc[0])


def to_json(found: Comparison) -> str:
    """One JSON object; what is missing or not finite is null."""
    told = {
        "differs": found.differs,
        "a": _side(found.a),
        "b": _side(found.b),
        "settings": found.settings,
        "tolerances": found.tolerances,
        "M": {letter: _maximum(M_of(found.sites, side)) for side, letter in enumerate("ab")},
        "sites": [_site(site) for site in found.sites],
        "only_a": [{"site": site, "b": why} for site, why in found.only_a],
        "only_b": [{"site": site, "a": why} for site, why in found.only_b],
        "pairing": found.pairing,
        "samples": [{**asdict(row), "sign_test": row.sign_test} for row in found.samples],
    }
    return json.dumps(_finite(told), ensure_ascii=False, allow_nan=False)


def _maximum(found: tuple[float, str] | None) -> dict[str, Any] | None:
    return None if found is None else {"value": found[0], "site": found[1]}


def _side(side: Side) -> dict[str, Any]:
    return {"name": side.name, "checkpoint": side.checkpoint, "planted": side.planted, "settings": side.settings}


def _site(site: SitePair) -> dict[str, Any]:
    statistics = [{key: value for key, value in asdict(item).items() if key != "statistic"} for item in site.statistics]
    return {
        "component": site.component,
        "layer": site.layer,
        "differs": site.differs,
        "peak_at": {"a": site.places[0], "b": site.places[1]},
        "statistics": {item.pop("what"): item for item in statistics},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_text(found: Comparison) -> str:
    """For people: what is compared, the summary, then the sites that are farthest apart."""
    lines = [f"{letter}  {_who(side)}" for letter, side in (("A", found.a), ("B", found.b))]
    lines += [f"note: {text}" for text in found.settings]
    M = [M_of(found.sites, side) for side in (0, 1)]
    if M[0] and M[1]:
        told = "; ".join(f"{letter} {one[0]:,.6g} at {one[1]}" for letter, one in zip("AB", M, strict=True) if one)
        lines += ["", f"M over the sites of both: {told}"]
    lines += [*_summary(found), *_samples(found)]
    worst = sorted((site for site in found.sites if site.differs), key=_worst, reverse=True)
    if worst:
        lines += ["", *_table(worst[:WORST], found.tolerances)]
        if len(worst) > WORST:
            lines.append(f"and {len(worst) - WORST} more; --json has all")
    for letter, other, sites in (("A", "B", found.only_a), ("B", "A", found.only_b)):
        if sites:
            lines += ["", f"In {letter} only:", *(f"  {site}: {why} in {other}" for site, why in _grouped(sites))]
    return "\n".join(lines)


def _who(side: Side) -> str:
    kind = " (planted)" if side.planted else ""
    return f"{side.checkpoint}{kind}" + ("" if side.name == side.checkpoint else f"  ({side.name})")


def M_of(sites: Sequence[SitePair], side: int) -> tuple[float, str] | None:
    """The largest peak of a side (0 or 1) over the sites of M that have one on both sides, and the first site with it."""
    best: tuple[float, str] | None = None
    for site in sites:
        peak = next(item for item in site.statistics if item.what == "peak")
        value = (peak.a, peak.b)[side]
        if COMPONENTS[site.component].in_M and peak.difference is not None and value is not None:
            best = (value, _name(site)) if best is None or value > best[0] else best
    return best


def _name(site: SitePair) -> str:
    return site.component if site.layer is None else f"{site.component}@{site.layer}"


def _summary(found: Comparison) -> Iterator[str]:
    differing = sum(site.differs for site in found.sites)
    yield f"{differing} of {len(found.sites)} sites differ beyond the tolerance"
    alone, partly = (len(found.only_a), len(found.only_b)), sum(site.one_sided for site in found.sites)
    if any(alone) or partly:
        told = f"COMPARED {len(found.sites)} OF {len(found.sites) + sum(alone)} SITES"
        told += f"; {alone[0]} are in A only, {alone[1]} in B only" if any(alone) else ""
        told += f"; at {partly} of those compared one side lacks a statistic" if partly else ""
        yield told + (
            "; by --all-sites that is a difference" if found.strict else "; with --all-sites that is a difference"
        )
    for statistic in TOLERANCES:
        rows = [(item, site) for site in found.sites for item in site.statistics if item.statistic == statistic]
        known = [(item, site) for item, site in rows if item.difference is not None]
        if not known:
            yield f"  {statistic:<13} not compared: a side has no value"
            continue
        beyond = len({_name(site) for item, site in known if item.beyond})
        compared = len({_name(site) for _, site in known})
        largest, where = max(known, key=lambda pair: pair[0].difference or 0.0)
        told = f"  {statistic:<13} {beyond} of {compared} beyond {found.tolerances[statistic]:g}"
        if largest.difference:
            told += f"; largest {largest.difference:.3g} at {_name(where)}"
        missing = len(found.sites) - compared
        yield told + (f"; {missing} not compared, where a side has no value" if missing else "")


def _samples(found: Comparison) -> Iterator[str]:
    if not found.samples:
        yield f"samples are not paired: {found.pairing}"
        return
    M, *sites = found.samples
    yield f"samples, paired by {found.pairing}:"
    for row in (M, *_most(sites)):
        told = f"  {row.site}: {row.differ} of {row.samples} differ, {row.beyond} beyond {found.tolerances['peak']:g}"
        if row.ratio is not None:
            told += f"; farthest {row.a:,.6g} and {row.b:,.6g} (ratio {row.ratio:.4g}) in sample {row.sample}"
        yield told
    if M.sign_test is not None:
        yield (
            f"  M is larger in A in {M.larger_a} samples, in B in {M.larger_b}; sign test, if samples are independent: "
            f"p = {M.sign_test:.3g}"
        )


def _most(rows: list[SamplePair]) -> list[SamplePair]:
    """The site at which most samples are beyond the tolerance, if any is."""
    most = max(rows, key=lambda row: row.beyond)
    return [most] if most.beyond else []


def _worst(site: SitePair) -> float:
    return max(item.difference or 0.0 for item in site.statistics if item.beyond)


def _table(sites: list[SitePair], tolerances: Mapping[str, float]) -> Iterator[str]:
    """The sites, each with the statistic that is farthest apart of those beyond their tolerance."""
    yield f"{'site':<24} {'statistic':<18} {'A':>12} {'B':>12} {'apart':>8}  peak"
    for site in sites:
        item: Compared = max((item for item in site.statistics if item.beyond), key=lambda item: item.difference or 0.0)
        values = ["" if value is None else f"{value:,.5g}" for value in (item.a, item.b)]
        moved = "" if None in site.places else "same place" if site.places[0] == site.places[1] else "moved"
        yield f"{_name(site):<24} {item.what:<18} {values[0]:>12} {values[1]:>12} {item.difference:>8.3g}  {moved}".rstrip()


def _grouped(sites: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """Sites of one component with one reason on a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for site, why in sites:
        groups.setdefault((site.partition("@")[0], why), []).append(site)
    for (component, why), names in groups.items():
        yield names[0] if len(names) == 1 else f"{component} at {len(names)} layers", why
