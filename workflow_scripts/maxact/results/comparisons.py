"""The comparisons of a study: the members of each group beside each other, by M and by its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.results.absent import absent_row
from maxact.results.frames import MARK_TYPES, relative_depth, typed
from maxact.results.member import Member, marks
from maxact.results.verdicts import NO_GROUP, verdict

Questions = Mapping[str, Mapping[str, Sequence[str]]]
"""Question -> group -> names of its members, all in the order of the study."""

_COLUMNS = {
    "question": "str",
    "group": "str",
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    "role": "str",
    "model_type": "str",
    "parameters": "Int64",
    "M": "float64",
    "signed": "float64",
    "component": "str",
    "layer": "Int64",
    "relative_depth": "float64",
    "compared_with": "str",
    "ratio": "float64",
    "log10_ratio": "float64",
    "nonfinite": "Int64",
    "verdict": "str",
}


def comparisons(members: Sequence[Member], questions: Questions, absent: Mapping[str, str]) -> pd.DataFrame:
    """A row for each question, group and member, in the order of the study.

    `relative_depth` is that of M's place (`frames.relative_depth`). `ratio` is M by that of `compared_with`, the group's
    first member whose M is finite and above zero; `log10_ratio` is its decimal logarithm, missing where M is zero.
    `verdict` is of the whole group. A question without groups has one row that says so.

    Args:
        members: the checkpoints that were measured.
        questions: which are set beside which.
        absent: name -> reason, of the optional checkpoints that could not be had.

    Raises:
        KeyError: a group names a checkpoint that is neither measured nor absent.
    """
    measured = {member.name: member for member in members}
    rows: list[dict[str, Any]] = []
    for question, groups in questions.items():
        if not groups:
            rows.append({"question": question, "verdict": NO_GROUP})
        for group, names in groups.items():
            found = [_row(measured[name]) if name in measured else absent_row(name, absent[name]) for name in names]
            rows += [{"question": question, "group": group, **row} for row in _compared(question, found)]
    return typed(rows, _COLUMNS)


def verdicts(members: Sequence[Member], questions: Questions, absent: Mapping[str, str]) -> pd.DataFrame:
    """A row for each question and group: how many members have an M, and the verdict; `kind` is planted if any is."""
    frame = comparisons(members, questions, absent)
    rows = []
    for question in frame.question.unique():
        for group in frame.group[frame.question == question].unique():
            part = frame[
                (frame.question == question) & (frame.group.isna() if pd.isna(group) else frame.group == group)
            ]
            kind = "planted" if (part.kind == "planted").any() else "real" if part.M.notna().any() else None
            counts = {"members": part.checkpoint.notna().sum(), "with_M": part.M.notna().sum()}
            named = {"question": question, "group": group, "kind": kind}
            rows.append({**named, **counts, "verdict": part.verdict.iloc[0]})
    columns = {
        "question": "str",
        "group": "str",
        "kind": "str",
        "members": "Int64",
        "with_M": "Int64",
        "verdict": "str",
    }
    return typed(rows, columns)


def _row(member: Member) -> dict[str, Any]:
    M = member.headline["M"]
    row = {**marks(member), "role": member.role}
    row |= {key: member.summary[key] for key in ("model_type", "parameters")}
    if M is not None:
        row |= {"M": M["value"], "signed": M["signed"], "component": M["component"], "layer": M["layer"]}
        row |= {"relative_depth": relative_depth(M["component"], M["layer"], member.summary["layers"])}
    return row


def _compared(question: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one group, with what is known only from all of them."""
    said = {"verdict": verdict(question, [(row["checkpoint"], row.get("M")) for row in rows])}
    above_zero = [row for row in rows if row.get("M")]
    known = [row for row in rows if row.get("M") is not None]
    compared = []
    for row in rows:
        M = row.get("M")
        if above_zero and len(known) > 1 and M is not None:
            ratio = M / above_zero[0]["M"]
            row = row | {"compared_with": above_zero[0]["checkpoint"], "ratio": ratio}
            row |= {"log10_ratio": math.log10(ratio) if ratio else None}
        compared.append(row | said)
    return compared
