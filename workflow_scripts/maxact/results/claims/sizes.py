"""Claims about how large M is: its span at one size, the small ones, the largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from maxact.results.claims.claim import Claim, Reading, Verdict, of_all, unknown
from maxact.results.claims.material import (
    OTHER_MAGNITUDES,
    TOLD_M,
    M_of,
    Magnitude,
    Material,
    is_mixture,
    known,
    size_of,
    told,
    without_size,
)
from maxact.results.claims.paper import PAPER
from maxact.results.frames import typed
from maxact.results.member import Member

COMPARABLE = 2.0
"""Where parameters are known, checkpoints are of comparable size up to this ratio."""

Groups = Mapping[str, Sequence[Member]]


def span(material: Material) -> Claim:
    """The largest ratio of two M within one group of matched sizes, in orders of magnitude.

    A mixture of experts counts by all its parameters: it joins the group of the dense checkpoint that the study sets it
    beside. "Nearly four" is what rounds to four; what rounds to one less or one more holds in part.
    """
    dense = {group: material.named(names) for group, names in material.groups("matched_sizes").items()}
    groups = {group: _with_mixtures(members, material) for group, members in dense.items()}
    rows = [{"group": group, **told(member)} for group, members in groups.items() for member in members]
    everything = {"all": material.main}
    sized = [member.name for member in material.main if size_of(member) is not None]
    windows = _span(f"parameters within a factor of {COMPARABLE:g}", _windows(material.main), M_of)
    return Claim(
        "span",
        _span("matched sizes, mixtures of experts by all their parameters", groups, M_of),
        typed(rows, {"group": "str", **TOLD_M}),
        (
            _span("matched sizes, dense checkpoints alone", dense, M_of),
            replace(windows, value=windows.value + without_size(material.main, sized)),
            _span("all checkpoints, whatever their size", everything, M_of),
            *(_span(choice, groups, magnitude) for choice, magnitude in OTHER_MAGNITUDES.items()),
        ),
    )


def _with_mixtures(members: Sequence[Member], material: Material) -> list[Member]:
    names = {member.name for member in members}
    joining = [mixture for _, dense, mixture in material.pairs() if dense.name in names and mixture.name not in names]
    return [*members, *joining]


def _windows(members: Sequence[Member]) -> Groups:
    """For each checkpoint those that have up to `COMPARABLE` times its parameters, of all whose parameters are known."""
    sizes = {member.name: size for member in members if (size := size_of(member)) is not None}
    found: dict[str, Sequence[Member]] = {}
    for low in sizes.values():
        within = [member for member in members if low <= sizes.get(member.name, math.nan) <= COMPARABLE * low]
        found[f"{low / 1e9:.3g} to {COMPARABLE * low / 1e9:.3g} billion"] = within
    return found


def _span(choice: str, groups: Groups, magnitude: Magnitude) -> Reading:
    widest: tuple[float, str] | None = None
    for group, members in sorted(groups.items()):
        values = sorted(((value, member.name) for member, value in known(members, magnitude)))
        if len(values) < 2:
            continue
        (low, smallest), (high, largest) = values[0], values[-1]
        orders = math.log10(high / low)
        text = f"{orders:.2f} orders of magnitude in {group}: {low:,.6g} in {smallest}, {high:,.6g} in {largest}"
        widest = max(widest or (-1.0, ""), (orders, text))
    if widest is None:
        return unknown(choice, "no group with two checkpoints of which this is known")
    stated = PAPER["span"].numbers["orders"]
    orders, text = widest
    off = abs(math.floor(orders + 0.5) - stated)
    return Reading(choice, {0: Verdict.HOLDS, 1: Verdict.IN_PART}.get(off, Verdict.FAILS), text)


def small(material: Material) -> Claim:
    """How many of them have M in the stated range, ends included."""
    numbers = PAPER["small"].numbers
    low, high = 10.0 ** numbers["low"], 10.0 ** numbers["high"]
    family = [member for member in material.main if member.summary["model_type"] in numbers["model_types"]]
    mixtures = material.mixtures()
    paired = [mixture for _, _, mixture in material.pairs()]
    members = [member for member in material.main if member in family or member in mixtures]
    rows = [{**told(member), "mixture": "yes" if is_mixture(member) else "no"} for member in members]
    for row in rows:
        row["inside"] = "yes" if low <= row["M"] <= high else "no"

    def within(choice: str, of: Sequence[Member], upper: float, magnitude: Magnitude = M_of) -> Reading:
        values = known(of, magnitude)
        if not values:
            return unknown(choice, "no such checkpoint of which this is known")
        inside = [member.name for member, value in values if low <= value <= upper]
        outside = [f"{member.name} ({value:,.6g})" for member, value in values if not low <= value <= upper]
        text = f"{len(inside)} of {len(values)}" + (f"; not {', '.join(outside)}" if outside else "")
        return Reading(choice, of_all(len(inside), len(values)), text)

    return Claim(
        "small",
        within("as stated, ends included", members, high),
        typed(rows, {**TOLD_M, "mixture": "str", "inside": "str"}),
        (
            within("range read as orders of magnitude: below ten times its end", members, 10 * high),
            within("Qwen3.5 alone", family, high),
            within("mixtures of experts alone", mixtures, high),
            within("mixtures of experts that are set beside a dense checkpoint alone", paired, high),
            *(within(choice, members, high, magnitude) for choice, magnitude in OTHER_MAGNITUDES.items()),
        ),
    )


def largest(material: Material) -> Claim:
    """Whether M of the checkpoint that the paper names, rounded to one digit, is the stated value."""
    name, stated = PAPER["largest"].numbers["checkpoint"], PAPER["largest"].numbers["value"]
    found = [member for member in material.real if member.name.lower() == name.lower()]

    def about(
        choice: str, members: Sequence[Member], rounded: Callable[[float], float], magnitude: Magnitude
    ) -> Reading:
        values = known(members, magnitude)
        if not values:
            return unknown(choice, f"{name} is not in this study, or this is not known of it")
        value = max(value for _, value in values)
        who = next(member.name for member, found in values if found == value)
        verdict = Verdict.HOLDS if rounded(value) == stated else Verdict.FAILS
        return Reading(choice, verdict, f"{value:,.6g} in {who}")

    top = max((M_of(member) or 0.0 for member in material.real), default=0.0)
    others = [about(choice, found, _one_digit, magnitude) for choice, magnitude in OTHER_MAGNITUDES.items()]
    if found:
        is_top = Verdict.HOLDS if M_of(found[0]) == top else Verdict.FAILS
        others.insert(0, Reading("that it is the largest of the study", is_top, f"the largest M is {top:,.6g}"))
    return Claim(
        "largest",
        about("rounded to one digit", found, _one_digit, M_of),
        typed([told(member) for member in found], TOLD_M),
        tuple(others),
    )


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}")
