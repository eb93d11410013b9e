"""What claims are judged from: the real checkpoints of a study, which of them a claim is about, and other readings of M."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maxact.results.comparisons import Questions
from maxact.results.frames import largest_of
from maxact.results.member import Member, marks, site_name
from maxact.sites.components import COMPONENTS

ROUTED = ("router_logits", "router_output", "expert_gate", "expert_down_input")
"""Only mixtures of experts have these components."""

IN_M = tuple(name for name, component in COMPONENTS.items() if component.in_M)

Magnitude = Callable[[Member], float | None]


@dataclass(frozen=True)
class Material:
    """The members of a study and its comparisons."""

    members: tuple[Member, ...]
    questions: Questions

    @property
    def real(self) -> list[Member]:
        """The checkpoints that are not planted and have a finite M."""
        return [member for member in self.members if member.kind == "real" and M_of(member) is not None]

    @property
    def main(self) -> list[Member]:
        """The real ones but those that the study sets beside the base that they were tuned from: 24 of the paper's 27."""
        tuned = {name for group in self.groups("base_vs_instruct").values() for name in group[1:]}
        return [member for member in self.real if member.name not in tuned]

    def groups(self, question: str) -> Mapping[str, Sequence[str]]:
        """The groups of one question, by name."""
        return self.questions.get(question, {})

    def named(self, names: Iterable[str]) -> list[Member]:
        """The real members of these names, in their order."""
        by_name = {member.name: member for member in self.real}
        return [by_name[name] for name in names if name in by_name]

    def pairs(self) -> list[tuple[str, Member, Member]]:
        """Each mixture of experts that the study sets beside a dense checkpoint: group, dense, mixture."""
        found = []
        for group, names in self.groups("moe_vs_dense").items():
            dense = self.named(names[:1])
            found += [(group, dense[0], other) for other in self.named(names[1:]) if dense]
        return found

    def mixtures(self) -> list[Member]:
        """The main checkpoints with routed experts."""
        return [member for member in self.main if is_mixture(member)]


def is_mixture(member: Member) -> bool:
    """Whether a router or routed experts were found in it, or its model type says so."""
    found = member.sites.component.isin(ROUTED) & (member.sites.status == "measured")
    return bool(found.any()) or "moe" in member.summary["model_type"] or len(member.experts) > 0


def M_of(member: Member) -> float | None:
    """M as the study has it; None where nothing is finite."""
    M = member.headline["M"]
    return None if M is None else float(M["value"])


def size_of(member: Member) -> float | None:
    """The number of parameters, all experts counted; None where it is not known."""
    size = member.summary.get("parameters")
    return None if size is None or pd.isna(size) or size <= 0 else float(size)


def without_size(members: Iterable[Member], sizes: Iterable[str]) -> str:
    """What a value says of the members that are in no comparison by size; nothing if all have one."""
    known_of = set(sizes)
    missing = [member.name for member in members if member.name not in known_of]
    return f"; {len(missing)} without a known size: {', '.join(missing)}" if missing else ""


def _positive(member: Member) -> float | None:
    """The largest x, the sign kept."""
    found = member.sites.loc[member.sites.component.isin(IN_M), "max"].astype("float64").max()
    return None if pd.isna(found) or found <= 0 else float(found)


def _with_gates(member: Member) -> float | None:
    gate = member.headline["M_with_gate"]
    return None if gate is None else float(gate["value"])


def _later_tokens(member: Member) -> float | None:
    """M of the tokens that are neither first nor BOS; None where classes of tokens are not known."""
    if member.classes.empty:
        return None
    found = member.classes[~member.classes.token_class.isin(["first", "bos"])].abs_max.max()
    return None if pd.isna(found) else float(found)


OTHER_MAGNITUDES: dict[str, Magnitude] = {
    "largest x, the sign kept, for |x|": _positive,
    "residual stream alone": lambda member: largest_of(member, "residual"),
    "gates counted too": _with_gates,
    "without the first token of a sample": _later_tokens,
}
"""What M might have been otherwise."""


def known(members: Sequence[Member], magnitude: Magnitude) -> list[tuple[Member, float]]:
    """Members with their magnitude; none at all if it is zero or not known of one, as the rest would be other checkpoints."""
    found = [(member, magnitude(member)) for member in members]
    return [] if any(not value for _, value in found) else [(member, value) for member, value in found if value]


def told(member: Member) -> dict[str, Any]:
    """What stands beside every number of a checkpoint in evidence: what it is, M and where."""
    M = member.headline["M"]
    where = {} if M is None else {"M": float(M["value"]), "site": site_name(M["component"], M["layer"])}
    return {**marks(member), "model_type": member.summary["model_type"], **where}


TOLD = {"checkpoint": "str", "kind": "str", "weights": "str", "nonfinite": "Int64", "model_type": "str"}
TOLD_M = {**TOLD, "M": "float64", "site": "str"}
"""Columns of `told`."""
