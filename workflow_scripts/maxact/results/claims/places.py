"""Claims that count checkpoints: those whose M is in the residual stream, those that pass the massive-activation test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maxact.results.claims.claim import CHECKPOINTS, Claim, Reading, of_share, unknown
from maxact.results.claims.material import IN_M, TOLD, TOLD_M, M_of, Material, told
from maxact.results.claims.paper import PAPER
from maxact.results.frames import largest_of, typed
from maxact.results.member import Member, site_name

Test = Callable[[Member], bool | None]
"""Whether a checkpoint counts; None where it cannot be told."""

THRESHOLD, RATIO = 100.0, 1000.0
"""Of the massive-activation test."""

FEW = 1e-5
"""Share of the tokens of a site."""


def counted(name: str, choice: str, members: Sequence[Member], test: Test) -> Reading:
    """How many of the members pass, against the share that the paper states."""
    found = [(member, test(member)) for member in members]
    told_of = [member for member, passed in found if passed is not None]
    if not told_of or len(told_of) < len(found):
        return unknown(choice, f"known of {len(told_of)} of {len(found)} checkpoints")
    numbers = PAPER[name].numbers
    passing = sum(bool(passed) for _, passed in found)
    verdict = of_share(passing, len(found), numbers["count"] / numbers["total"])
    few = "" if len(found) >= CHECKPOINTS else f", where {CHECKPOINTS} are needed"
    failing = [member.name for member, passed in found if not passed]
    return Reading(
        choice, verdict, f"{passing} of {len(found)}{few}" + (f"; not {', '.join(failing)}" if failing else "")
    )


def residual(material: Material) -> Claim:
    """How many have M in the residual stream; of equal sites the first in forward order counts, as in the paper."""
    main = material.main
    tied = [member for member in main if not _first(member) and _or_tied(member)]
    rows = [
        {
            **told(member),
            "ties": len(member.headline["M"]["ties"]),
            "equal_in_residual": "yes" if _or_tied(member) and not _first(member) else None,
            "residual": largest_of(member, "residual"),
        }
        for member in main
    ]
    ties = "ties go to the residual stream" + (f" ({', '.join(member.name for member in tied)})" if tied else "")
    return Claim(
        "residual",
        counted("residual", "of equal sites the first in forward order", main, _first),
        typed(rows, {**TOLD_M, "ties": "Int64", "equal_in_residual": "str", "residual": "float64"}),
        (
            counted("residual", ties, main, _or_tied),
            counted("residual", "all real checkpoints", material.real, _first),
            counted("residual", "final norm left out of M", main, _without_final_norm),
            counted("residual", "largest x, the sign kept, for |x|", main, _signed),
        ),
    )


def _first(member: Member) -> bool:
    return bool(member.headline["M"]["component"] == "residual")


def _or_tied(member: Member) -> bool:
    return largest_of(member, "residual") == M_of(member)


def _without_final_norm(member: Member) -> bool | None:
    return _carried(member, "peak", [name for name in IN_M if name != "final_norm"])


def _signed(member: Member) -> bool | None:
    return _carried(member, "max", IN_M)


def _carried(member: Member, column: str, components: Sequence[str]) -> bool | None:
    """Whether the first of the largest values of that column, in forward order, is in the residual stream."""
    sites = member.sites[member.sites.component.isin(list(components)) & member.sites[column].notna()].sort_values(
        "site"
    )
    if sites.empty:
        return None
    values = sites[column].astype("float64")
    return bool(sites.component[values == values.max()].iloc[0] == "residual")


def massive(material: Material) -> Claim:
    """How many have a token that passes at some layer of the residual stream."""
    rows: list[dict[str, Any]] = []
    for member in material.main:
        sites = member.sites[(member.sites.component == "residual") & member.sites.massive_tokens_passed.notna()]
        row: dict[str, Any] = told(member)
        if len(sites):
            best = sites.sort_values(["massive_tokens_passed", "site"], ascending=[False, True]).iloc[0]
            row |= {"most_at": site_name(best.component, best.layer), "tokens": best.massive_tokens}
            row |= {"passed": best.massive_tokens_passed, "share": best.massive_tokens_passed / best.massive_tokens}
            row |= {"largest_ratio": float(sites.massive_max_ratio.max())}
        rows.append(row)
    columns = {**TOLD, "M": "float64", "most_at": "str", "passed": "Int64", "tokens": "Int64", "share": "float64"}
    main = material.main

    def passing(choice: str, members: Sequence[Member], test: Test) -> Reading:
        return counted("massive", choice, members, test)

    return Claim(
        "massive",
        passing("a token at some layer of the residual stream", main, lambda member: _passes(member, ["residual"])),
        typed(rows, {**columns, "largest_ratio": "float64"}),
        (
            passing("a token at any site that M ranges over", main, lambda member: _passes(member, IN_M)),
            passing(
                f"more than {FEW:.3%} of the tokens of a layer", main, lambda member: _passes(member, ["residual"], FEW)
            ),
            passing("against the median of the whole site, as Sun et al. (2024)", main, _by_site_median),
            passing("all real checkpoints", material.real, lambda member: _passes(member, ["residual"])),
        ),
    )


def _passes(member: Member, components: Sequence[str], share: float = 0.0) -> bool | None:
    sites = member.sites[member.sites.component.isin(list(components)) & member.sites.massive_tokens_passed.notna()]
    if sites.empty:
        return None
    return bool((sites.massive_tokens_passed.astype(float) > share * sites.massive_tokens.astype(float)).any())


def _by_site_median(member: Member) -> bool | None:
    sites = member.sites[
        (member.sites.component == "residual") & member.sites.peak.notna() & member.sites.abs_median.notna()
    ]
    if sites.empty:
        return None
    peak, median = sites.peak.astype(float), sites.abs_median.astype(float)
    return bool(((peak > THRESHOLD) & (peak > RATIO * median)).any())
