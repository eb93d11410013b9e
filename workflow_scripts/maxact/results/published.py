"""Members of a study of published results, and the tables that only those have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.errors import UserError
from maxact.measurement import read_table
from maxact.results.deviation import deviation
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks
from maxact.store.job import Job

_SUBSETS = {
    **{name: MARK_TYPES[name] for name in ("checkpoint", "kind", "weights")},
    **dict.fromkeys(("size", "subsets"), "Int64"),
    **dict.fromkeys(("M", "smallest", "median", "largest"), "float64"),
    **dict.fromkeys(("smallest_share", "mean_share", "std_share"), "float64"),
    **dict.fromkeys(("reach_M", "same_site"), "Int64"),
    "nonfinite": "Int64",
}
_DRAWN = {
    **MARK_TYPES,
    "size": "Int64",
    "repetition": "Int64",
    "M": "float64",
    "M_of_subset": "float64",
    "share": "float64",
}
_PROBLEMS = ["checkpoint", "severity", "file", "field", "what"]


def published_members(job: Job, asked: Sequence[Mapping[str, Any]]) -> tuple[list[Member], dict[str, str]]:
    """The checkpoints that the files have, and of the others why they are not there.

    Raises:
        UserError: they have none of the study's.
    """
    told = job.inputs["published"].summary["checkpoints"]
    problems, subsets = _table(job, "problems"), _table(job, "subsets")
    members, absent = [], {}
    for item in asked:
        found = told.get(item["found_as"])
        if found is None:
            absent[item["name"]] = _why_absent(item["found_as"], problems)
        elif found["summary"]["model_type"] != item["model_type"]:
            source, said = found["summary"]["source"], found["summary"]["model_type"]
            absent[item["name"]] = (
                f"{source}: model_type: {said}, where the family {item['family']} has {item['model_type']}"
            )
        else:
            members.append(_member(job, item, found, subsets[subsets.checkpoint == item["found_as"]]))
    if not members:
        name, reason = next(iter(absent.items()))
        raise UserError(f"the published files have no checkpoint of the study: {name}: {reason}")
    return members, absent


def problems_of(job: Job, asked: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each fault of the files, and for each checkpoint in them that the study does not name."""
    names = {item["found_as"]: item["name"] for item in asked}
    there = job.inputs["published"].summary["checkpoints"]
    # A file may be named after a checkpoint that neither the study nor any file has.
    known = {name: name for name in there} | names
    rows = [{**row, "checkpoint": known.get(row["checkpoint"])} for row in _table(job, "problems").to_dict("records")]
    for name, one in there.items():
        if name not in names:
            what = f"a checkpoint that the study does not name; add {name} to checkpoints, and its family"
            row = {"checkpoint": name, "severity": "warning", "file": one["summary"]["source"], "field": "model_name"}
            rows.append({**row, "what": what})
    return typed(rows, dict.fromkeys(_PROBLEMS, "str"))


def bootstrap(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint and size of subset: M of random subsets beside M of all samples.

    `share` is M of a subset by M of all: its smallest, mean and standard deviation (of a sample, n - 1). `reach_M` counts the
    subsets whose M is that of all samples, `same_site` those whose M stands at the same site. The spread of a maximum over
    subsets says how much of M hangs on few samples; it is no confidence interval of M.
    """
    rows = []
    for member in in_order(members):
        M = member.headline["M"]
        for size, part in member.subsets.groupby("size") if M is not None and len(member.subsets) else ():
            share = (
                part.M / M["value"] if M["value"] else part.M * math.nan
            )  # a checkpoint of nothing but zeros has none
            same = (part.component == M["component"]) & (
                part.layer.astype("Int64").fillna(-1) == (-1 if M["layer"] is None else M["layer"])
            )
            row = {**marks(member), "size": size, "subsets": len(part), "M": M["value"]}
            row |= {"smallest": part.M.min(), "median": part.M.median(), "largest": part.M.max()}
            row |= {
                "smallest_share": share.min(),
                "mean_share": share.mean(),
                "std_share": deviation(share.to_numpy("float64", na_value=math.nan)),
            }
            rows.append(row | {"reach_M": int((M["value"] == part.M).sum()), "same_site": int(same.sum())})
    return typed(rows, _SUBSETS)


def subsets(members: Sequence[Member]) -> pd.DataFrame:
    """For figures: a row for each checkpoint and subset, with its M and that of all samples, if that is known."""
    rows = []
    for member in in_order(members):
        M = (member.headline["M"] or {}).get("value")
        runs = member.subsets.sort_values(["size", "repetition"]) if len(member.subsets) else member.subsets
        for run in runs.to_dict("records"):
            row = {**marks(member), "size": run["size"], "repetition": run["repetition"]}
            rows.append(row | {"M": M, "M_of_subset": run["M"], "share": run["M"] / M if M else None})
    return typed(rows, _DRAWN)


def with_subsets(job: Job, asked: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names of the checkpoints that the files have subsets of."""
    found = set(_table(job, "subsets").checkpoint)
    return {item["name"] for item in asked if item["found_as"] in found}


def _table(job: Job, name: str) -> pd.DataFrame:
    return read_table(job.path("published", f"{name}.parquet"))


def _why_absent(name: str, problems: pd.DataFrame) -> str:
    """The first fault of a file that has the name of the checkpoint."""
    for row in problems[problems.severity == "error"].to_dict("records"):
        if row["file"].rpartition("/")[2].startswith(f"{name}_activation_stats"):
            return ": ".join(str(row[key]) for key in ("file", "field", "what") if row[key])
    return f"no statistics of {name} in the published files"


def _member(job: Job, item: Mapping[str, Any], found: Mapping[str, Any], subsets: pd.DataFrame) -> Member:
    nothing = pd.DataFrame()
    billions = item["billions"]
    return Member(
        name=item["name"],
        family=item["family"],
        summary={**found["summary"], "parameters": None if billions is None else round(billions * 1e9)},
        headline=found["headline"],
        sites=_table(job, f"{item['found_as']}.sites"),
        top=_table(job, f"{item['found_as']}.top"),
        errors=_table(job, f"{item['found_as']}.errors"),
        bits=nothing,
        curves=nothing,
        check=None,
        tokens=found["tokens"],
        samples=nothing,
        classes=nothing,
        experts=nothing,
        witnesses=nothing,
        role=item["role"],
        subsets=subsets,
    )
