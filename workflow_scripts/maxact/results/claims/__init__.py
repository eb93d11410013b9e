"""The claims of the paper, each judged from the measurements of a study.

What the paper says is data (`paper.py`); what a study gives is computed, by one small function for each claim. Which
checkpoints a claim is about follows from the study's comparisons, roles and model types. Planted checkpoints never count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from maxact.results.claims.claim import Claim
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
    """Every claim, judged.

    Args:
        members: the checkpoints that were measured.
        questions: which are set beside which.
    """
    material = Material(tuple(members), questions)
    return [claim(material) for claim in CLAIMS]


def not_judged(members: Sequence[Member], absent: Mapping[str, str]) -> dict[str, str]:
    """Real checkpoints of the study that no claim counts, each with why.

    Args:
        members: the checkpoints that were measured.
        absent: why the others are not there, by name.
    """
    infinite = [member.name for member in members if member.kind == "real" and M_of(member) is None]
    return {**absent, **dict.fromkeys(infinite, "has no finite M")}
