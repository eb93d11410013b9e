"""Which number format, granularity and clipping policy win, for each kind of tensor that deployment quantizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from maxact.quantize.formats import FORMATS, NO_POLICY
from maxact.quantize.tensors import TENSORS
from maxact.results.decibels import difference, exact_as_infinite, median
from maxact.results.frames import MARK_TYPES, typed, why_missing
from maxact.results.granularities import bits_per_element
from maxact.results.member import Member, every_error, in_order, marks, site_name

_KEY = ["format", "granularity", "policy"]

_COLUMNS = {
    **MARK_TYPES,
    "tensors": "str",
    "bits": "Int64",
    **dict.fromkeys(("format", "granularity", "policy"), "str"),
    "bits_per_element": "float64",
    "sites": "Int64",
    "sites_won": "Int64",
    "median_sqnr_db": "float64",
    "worst_sqnr_db": "float64",
    "worst_site": "str",
    "runner_up": "str",
    "runner_up_bits_per_element": "float64",
    "margin_db": "float64",
    "static_winner": "str",
    "gain_over_static_db": "float64",
    "float16_overflows": "Int64",
    "note": "str",
}


def decisions(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint, kind of tensor and width of formats: the winner.

    The winner has the largest median SQNR over the sites of the kind; among equals the one that is best at its worst site, then
    the first in the order of the study.
    Its margin is to the best granularity and policy of another format of that width, its gain to the best whole-tensor one,
    whose scale is static; where no other granularity was evaluated the winner is static itself. A site where all of its
    reconstruction is exact counts as infinite, one where an element becomes infinite as minus infinity, and so does one at
    which a way has no scale (nothing was calibrated on) and another way has; one without finite values or without power is
    left out. float16_overflows: at how many sites float16 makes an element infinite; missing where the study has not the
    format.
    """
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        every = every_error(member)
        for tensors, components in TENSORS.items():
            row = {**marks(member), "tensors": tensors}
            errors = every[every.component.isin(components)]
            if errors.empty:
                rows.append(row | {"note": why_missing(member, components)})
                continue
            bits = errors["format"].map(lambda name: FORMATS[name].bits)
            for width in sorted(set(bits)):
                part = errors[bits == width]
                rows.append(row | {"bits": width} | _won(member, part) | _overflows(part))
    return typed(rows, _COLUMNS)


def _won(member: Member, errors: pd.DataFrame) -> dict[str, Any]:
    """The winner among the formats of one width."""
    sqnr = exact_as_infinite(errors)
    known = errors.assign(sqnr=sqnr.fillna(-math.inf))[errors.site.isin(errors.site[sqnr.notna()])]
    if known.empty:
        return {"note": "no finite value"}
    ways = known.groupby(_KEY, sort=False).sqnr
    medians, worsts = ways.apply(median), ways.min()

    def first(some: pd.Series) -> Any:
        """The best of some ways, by their medians."""
        return max(some.index, key=lambda way: (some[way], worsts[way]))

    best = first(medians)
    of_best = known[(known[_KEY] == list(best)).all(axis=1)]
    worst = of_best.loc[of_best.sqnr.idxmin()]
    largest = of_best.site.map(known.groupby("site").sqnr.max())
    found = {
        **dict(zip(_KEY, best, strict=True)),
        "bits_per_element": bits_per_element(member, of_best, best[0], best[1]),
        "sites": known.site.nunique(),
        "sites_won": int(((of_best.sqnr == largest) & (largest > -math.inf)).sum()),
        "median_sqnr_db": medians[best],
        "worst_sqnr_db": worst.sqnr,
        "worst_site": site_name(worst.component, worst.layer),
    }
    others = medians[medians.index.get_level_values(0) != best[0]]
    if len(others):
        second = first(others)
        of_second = known[(known[_KEY] == list(second)).all(axis=1)]
        found |= {
            "runner_up": named(second),
            "runner_up_bits_per_element": bits_per_element(member, of_second, second[0], second[1]),
            "margin_db": difference(medians[best], others[second]),
        }
    static = medians[medians.index.get_level_values(1) == "tensor"]
    if len(static):
        whole = first(static)
        found |= {"static_winner": named(whole), "gain_over_static_db": difference(medians[best], static[whole])}
    return found


def _overflows(errors: pd.DataFrame) -> dict[str, int]:
    """At how many sites float16 makes an element infinite, where it is among the formats."""
    cast = errors[errors["format"] == "float16"]
    return {"float16_overflows": int((cast.sqnr_db == -math.inf).sum())} if len(cast) else {}


def named(key: tuple[str, str, str]) -> str:
    """Format and policy, if it has one, and the granularity unless it is the whole tensor."""
    return ", ".join(part for part in key if part not in ("tensor", NO_POLICY))
