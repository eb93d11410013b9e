"""What a judged claim is, and the words of its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

from maxact.results.claims.paper import PAPER, Stated

CHECKPOINTS = 5
"""Fewer have no share and no correlation. A claim of each of some checkpoints needs no number: one that does otherwise breaks
it, and the value says how many there are."""


class Verdict(StrEnum):
    """`UNKNOWN` where a study has not what the claim is about."""

    HOLDS = "holds"
    IN_PART = "holds in part"
    FAILS = "does not hold"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True)
class Reading:
    """One way to read a claim, and what the numbers say to it.

    Attributes:
        choice: what was chosen, as `without the first token of a sample`.
        value: the numbers, or why nothing can be told.
    """

    choice: str
    verdict: Verdict
    value: str


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and its verdict.

    Attributes:
        name: of `paper.PAPER`.
        read: as the paper says it; its verdict is that of the claim.
        evidence: the rows that it rests on.
        others: how the verdict depends on choices.
        in_doubt: checkpoints of the evidence whose M other numbers of their files contradict, or that lack sites, each with why.
    """

    name: str
    read: Reading
    evidence: pd.DataFrame
    others: tuple[Reading, ...] = ()
    in_doubt: Mapping[str, str] = field(default_factory=dict)

    @property
    def stated(self) -> Stated:
        return PAPER[self.name]

    @property
    def verdict(self) -> Verdict:
        return self.read.verdict

    @property
    def doubts(self) -> str:
        """`in_doubt` in words; empty where there is none."""
        return ", ".join(f"{name} ({why})" for name, why in self.in_doubt.items())

    @property
    def depends(self) -> pd.DataFrame:
        """A row for each choice: the claim as read first, then the others."""
        rows = [[reading.choice, str(reading.verdict), reading.value] for reading in (self.read, *self.others)]
        return pd.DataFrame(rows, columns=["choice", "verdict", "value"], dtype="str")

    @property
    def differing(self) -> int:
        """How many of the other choices give another verdict; those that cannot be told do not count."""
        told = [reading.verdict for reading in self.others if reading.verdict != Verdict.UNKNOWN]
        return sum(verdict != self.verdict for verdict in told)


def unknown(choice: str, why: str) -> Reading:
    """A reading that the study has nothing for."""
    return Reading(choice, Verdict.UNKNOWN, why)


def of_all(true: int, total: int) -> Verdict:
    """Of a claim about each of some checkpoints, however many there are."""
    if total == 0:
        return Verdict.UNKNOWN
    return Verdict.HOLDS if true == total else Verdict.IN_PART if true else Verdict.FAILS


def of_share(count: int, total: int, stated: float) -> Verdict:
    """Of a claim that a share of the checkpoints does something, when `count` of `total` do.

    It holds if no other count is nearer to the stated share, and in part if both shares are on one side of a half. Fewer than
    `CHECKPOINTS` say nothing of a share.
    """
    if total < CHECKPOINTS:
        return Verdict.UNKNOWN
    share = count / total
    if abs(share - stated) <= 0.5 / total:
        return Verdict.HOLDS
    return Verdict.IN_PART if (share > 0.5) == (stated > 0.5) else Verdict.FAILS
