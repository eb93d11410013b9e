"""The claims of the paper, each judged from the measurements of a study.

What the paper says is data (`paper.py`); what a study gives is computed, by one small function for each claim. Which
checkpoints a claim is about follows from the study's comparisons, roles and model types. Planted checkpoints never count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from maxact.results.claims.claim import Claim, Reading
from maxact.results.claims.int8 import int8
from maxact.results.claims.material import M_of, Material
from maxact.results.claims.places import massive, residual
from maxact.results.claims.scaling import experts, scaling
from maxact.results.claims.sizes import largest, small, span
from maxact.results.claims.stability import stability
from maxact.results.comparisons import Questions
from maxact.results.member import Member

CLAIMS: tuple[Callable[[Material], Claim], ...] = (
    span,
    small,
    largest,
    scaling,
    experts,
    residual,
    massive,
    int8,
    stability,
)
"""In the order of the paper."""


def claims(members: Sequence[Member], questions: Questions) -> list[Claim]:
    """Every claim, judged; those that rest on an M in doubt say so, and what the verdict is without it.

    Args:
        members: the checkpoints that were measured.
        questions: which are set beside which.
    """
    material = Material(tuple(members), questions)
    in_doubt = {member.name: why for member in material.real if (why := member.summary.get("in_doubt"))}
    rest = Material(tuple(member for member in members if member.name not in in_doubt), questions)
    return [_with_doubts(judge, material, rest, in_doubt) for judge in CLAIMS]


def _with_doubts(
    judge: Callable[[Material], Claim], material: Material, rest: Material, in_doubt: Mapping[str, str]
) -> Claim:
    claim = judge(material)
    named = set(claim.evidence.astype("str").to_numpy().ravel())
    found = {name: why for name, why in in_doubt.items() if name in named}
    if not found:
        return claim
    without = judge(rest).read
    further = Reading(WITHOUT_DOUBTS, without.verdict, without.value)
    return replace(claim, in_doubt=found, others=(*claim.others, further))


WITHOUT_DOUBTS = "checkpoints whose M is in doubt left out"


def not_judged(members: Sequence[Member], absent: Mapping[str, str]) -> dict[str, str]:
    """Real checkpoints of the study that no claim counts, each with why.

    Args:
        members: the checkpoints that were measured.
        absent: why the others are not there, by name.
    """
    infinite = [member.name for member in members if member.kind == "real" and M_of(member) is None]
    return {**absent, **dict.fromkeys(infinite, "has no finite M")}
