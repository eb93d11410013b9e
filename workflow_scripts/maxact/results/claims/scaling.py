"""Claims about M and size: no simple growth, and mixtures of experts against dense checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

from maxact.results.claims.claim import Claim, Reading, Verdict, of_all, unknown
from maxact.results.claims.material import (
    OTHER_MAGNITUDES,
    TOLD_M,
    M_of,
    Magnitude,
    Material,
    known,
    size_of,
    told,
    without_size,
)
from maxact.results.claims.paper import PAPER
from maxact.results.frames import typed
from maxact.results.member import Member

LARGER = 1.5
"""Where parameters are known, a checkpoint is larger than another from this ratio on."""

PAIRS = 2

BETWEEN = ("across generations", "across families")
WITHIN = "within a family"

Pair = tuple[str, Member, Member]
"""What kind of pair, the smaller and the larger checkpoint."""


def scaling(material: Material) -> Claim:
    """Pairs of checkpoints of different size, the larger of which has the smaller M.

    Sizes are parameters where some are known, else the study's groups of matched sizes, in its order. A pair is across
    generations if the study sets their families beside each other under that question, else across families. The claim
    holds if there are such pairs of both kinds, and in part if of one. Of a kind with fewer than `PAIRS` it cannot be told that
    there are none. Checkpoints without a known size are named beside the numbers.
    """
    pairs = size_pairs(material)
    rows = [_row(kind, smaller, larger) for kind, smaller, larger in pairs]
    columns = {"pair": "str", "smaller": "str", "M_smaller": "float64", "larger": "str", "M_larger": "float64"}
    evidence = typed(rows, {**columns, "ratio": "float64", "kind": "str"})
    mixtures = {found.name for found in material.mixtures()}
    dense = [pair for pair in pairs if not {pair[1].name, pair[2].name} & mixtures]
    sizes = _sizes(material)
    unsized = without_size(material.main, sizes)
    unsized_dense = without_size([member for member in material.main if member.name not in mixtures], sizes)
    return Claim(
        "scaling",
        _broken("pairs of checkpoints of different size", pairs, M_of, unsized),
        evidence.sort_values(["pair", "ratio", "smaller", "larger"], ignore_index=True),
        (
            _broken("dense checkpoints alone", dense, M_of, unsized_dense),
            _within_families(material),
            *(_broken(choice, pairs, magnitude, unsized) for choice, magnitude in OTHER_MAGNITUDES.items()),
        ),
    )


def size_pairs(material: Material) -> list[Pair]:
    """Every pair of main checkpoints of different families of which one is known to be larger."""
    sizes = _sizes(material)
    lines = _generations(material)
    members = sorted((member for member in material.main if member.name in sizes), key=lambda member: member.name)
    found = []
    for one, other in combinations(members, 2):
        smaller, larger = sorted((one, other), key=lambda member: sizes[member.name])
        if sizes[larger.name] >= LARGER * sizes[smaller.name] and one.family != other.family:
            kind = BETWEEN[0] if frozenset((one.family, other.family)) in lines else BETWEEN[1]
            found.append((kind, smaller, larger))
    return found


def _sizes(material: Material) -> Mapping[str, float]:
    """Sizes of the main checkpoints by name: parameters, or powers of two in the order of the groups of matched sizes."""
    parameters = {member.name: size for member in material.main if (size := size_of(member)) is not None}
    if parameters:
        return parameters
    groups = list(material.groups("matched_sizes").values())
    main = {member.name for member in material.main}
    return {name: 2.0**rank for rank, names in enumerate(groups) for name in names if name in main}


def _generations(material: Material) -> set[frozenset[str]]:
    found = set()
    for names in material.groups("generations").values():
        families = [member.family for member in material.named(names)]
        found |= {frozenset(pair) for pair in combinations(families, 2)}
    return found


def _row(kind: str, smaller: Member, larger: Member) -> dict[str, Any]:
    low, high = M_of(smaller), M_of(larger)
    ratio = high / low if high is not None and low else None
    names = {"pair": kind, "smaller": smaller.name, "M_smaller": low, "larger": larger.name, "M_larger": high}
    kind_of_both = smaller.kind if smaller.kind == larger.kind else f"{smaller.kind} and {larger.kind}"
    return {**names, "ratio": ratio, "kind": kind_of_both}


def _broken(choice: str, pairs: Sequence[Pair], magnitude: Magnitude, unsized: str) -> Reading:
    values = known(list({member.name: member for _, *both in pairs for member in both}.values()), magnitude)
    if not values:
        return unknown(choice, f"no two checkpoints of different size of which this is known{unsized}")
    of = {member.name: value for member, value in values}
    counts = {
        kind: [of[larger.name] < of[smaller.name] for at, smaller, larger in pairs if at == kind] for kind in BETWEEN
    }
    text = "; ".join(
        f"{kind} the larger has the smaller M in {sum(found)} of {len(found)} pairs" for kind, found in counts.items()
    )
    broken = sum(any(found) for found in counts.values())
    if not broken and min(map(len, counts.values())) < PAIRS:
        return unknown(choice, text + unsized)
    return Reading(choice, of_all(broken, len(counts)), text + unsized)


def _within_families(material: Material) -> Reading:
    """The same within families: groups of the study in which M falls at some step from small to large."""
    choice = f"{WITHIN}, from one size to the next"
    groups = {group: known(material.named(names), M_of) for group, names in material.groups("scaling").items()}
    groups = {group: members for group, members in groups.items() if len(members) > 1}
    if not groups:
        return unknown(choice, "no group of one family with two sizes")
    falling = [
        group
        for group, members in groups.items()
        if any(later < earlier for (_, earlier), (_, later) in pairwise(members))
    ]
    text = f"M falls at a step in {len(falling)} of {len(groups)} families" + (
        f": {', '.join(sorted(falling))}" if falling else ""
    )
    return Reading(choice, of_all(len(falling), len(groups)), text)


def experts(material: Material) -> Claim:
    """M of the dense checkpoint by M of the mixture, for each pair that the study sets beside each other.

    It holds if all are above one and their range, to one decimal, is the stated one; in part if some are above one.
    Mixtures without a dense checkpoint beside them are in the evidence with the rank of their M among the dense ones.
    """
    pairs = material.pairs()
    dense = [member for member in material.main if member not in material.mixtures()]
    rows = []
    for group, one, mixture in pairs:
        ratio = _ratio(one, mixture, M_of)
        rows.append({**told(mixture), "beside": one.name, "M_dense": M_of(one), "group": group, "times_lower": ratio})
    alone = [member for member in material.mixtures() if member not in [mixture for _, _, mixture in pairs]]
    values = sorted(M_of(member) or 0.0 for member in dense)
    for mixture in alone:
        above = sum((M_of(mixture) or 0.0) > value for value in values)
        rows.append(
            {**told(mixture), "group": "no dense checkpoint beside it", "above": f"{above} of {len(values)} dense"}
        )
    columns = {
        **TOLD_M,
        "beside": "str",
        "M_dense": "float64",
        "group": "str",
        "times_lower": "float64",
        "above": "str",
    }
    others = [_lower(choice, pairs, magnitude) for choice, magnitude in OTHER_MAGNITUDES.items()]
    return Claim(
        "experts",
        _lower("mixtures that the study sets beside a dense checkpoint", pairs, M_of),
        typed(rows, columns),
        (_every(pairs, alone), _against_smallest(material), _against_median(alone, values), *others),
    )


def _ratio(dense: Member, mixture: Member, magnitude: Magnitude) -> float | None:
    one, other = magnitude(dense), magnitude(mixture)
    return one / other if one is not None and other else None


def _lower(choice: str, pairs: Sequence[Pair], magnitude: Magnitude) -> Reading:
    numbers = PAPER["experts"].numbers
    ratios = [(mixture.name, _ratio(dense, mixture, magnitude)) for _, dense, mixture in pairs]
    values = [value for _, value in ratios if value is not None]
    if not values or len(values) < len(ratios):
        return unknown(choice, "no mixture of experts with a dense checkpoint beside it of which this is known")
    lower = sum(value > 1 for value in values)
    same = (round(min(values), 1), round(max(values), 1)) == (numbers["low"], numbers["high"])
    verdict = of_all(lower, len(values))
    if verdict == Verdict.HOLDS and not same:
        verdict = Verdict.IN_PART
    text = ", ".join(f"{name} {value:.3g} times" for name, value in sorted(ratios, key=lambda item: item[1] or 0.0))
    return Reading(choice, verdict, f"{lower} of {len(values)} lower: {text}")


def _every(pairs: Sequence[Pair], alone: Sequence[Member]) -> Reading:
    """As a claim about all mixtures of the study, of which some have nothing of their size beside them."""
    choice = "every mixture of experts of the study"
    if not pairs:
        return unknown(choice, "no mixture of experts with a dense checkpoint beside it")
    read = _lower(choice, pairs, M_of)
    names = ", ".join(member.name for member in alone)
    without = f"; {len(alone)} without a dense checkpoint of their size beside them: {names}" if alone else ""
    verdict = Verdict.IN_PART if alone and read.verdict == Verdict.HOLDS else read.verdict
    return Reading(choice, verdict, read.value + without)


def _against_smallest(material: Material) -> Reading:
    """The dense checkpoint replaced by the smallest of its family, which is nearer to the parameters that a token passes."""
    pairs: list[Pair] = []
    for group, dense, mixture in material.pairs():
        for names in material.groups("scaling").values():
            smallest = material.named(names[:1])
            if dense.name in names and smallest:
                pairs.append((group, smallest[0], mixture))
    return _lower("against the smallest dense checkpoint of the family", pairs, M_of)


def _against_median(alone: Sequence[Member], values: Sequence[float]) -> Reading:
    choice = "mixtures without a dense checkpoint beside them, against the median of the dense ones"
    if not alone or not values:
        return unknown(choice, "no such mixture, or nothing dense to set beside it")
    median = statistics.median(values)
    lower = [member for member in alone if (M_of(member) or 0.0) < median]
    text = ", ".join(f"{member.name} {M_of(member):,.6g}" for member in alone)
    return Reading(choice, of_all(len(lower), len(alone)), f"{len(lower)} of {len(alone)} below {median:,.6g}: {text}")
