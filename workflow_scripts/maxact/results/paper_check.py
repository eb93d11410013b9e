"""The paper's INT-8 check, as its authors made it and corrected, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maxact.quantize.paper_check import Threshold, largest, linear_quantile, their_error
from maxact.quantize.stage import tensor_errors
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import FirstLines, Member, in_order, marks, site_name

THEIRS = "authors' method, first lines"
EXACT = "exact quantile, first lines"
STRATIFIED = "exact quantile, stratified splits"
METHODS = (THEIRS, EXACT, STRATIFIED)

AS_PUBLISHED = {"bins": 2048, "bits": 8, "quantile": 0.999}

_ERRORS = ("mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate")
_COLUMNS = {
    **MARK_TYPES,
    **dict.fromkeys(("site", "method", "format", "policy"), "str"),
    "threshold": "float64",
    "bin": "Int64",
    **dict.fromkeys(("quantile_at_least", "quantile_below"), "float64"),
    "elements": "Int64",
    **dict.fromkeys(_ERRORS, "float64"),
    **dict.fromkeys(("calibration_domains", "evaluation_domains", "note"), "str"),
}

_AT_SITES = ("threshold", "relative_rmse", "sqnr_db")
_SITE_COLUMNS = {
    **MARK_TYPES,
    **dict.fromkeys(("site", "format"), "str"),
    "elements": "Int64",
    **dict.fromkeys((f"max_{name}" for name in _AT_SITES), "float64"),
    "clip": "str",
    **dict.fromkeys((f"clip_{name}" for name in (*_AT_SITES, "rate")), "float64"),
    "better": "str",
    "peak": "boolean",
    **dict.fromkeys((f"authors_{policy}_{name}" for policy in ("max", "clip") for name in _AT_SITES), "float64"),
    "note": "str",
}


def paper_check(members: Sequence[Member], bins: int, bits: int, quantile: float) -> pd.DataFrame:
    """A row for each checkpoint that has the check, policy and method of `METHODS`, at the peak of the residual stream."""
    rows: list[dict[str, Any]] = []
    for member in in_order(members):
        seen = member.first_lines
        if seen is None:
            continue
        row = marks(member)
        if seen.summary["layer"] is None:
            rows.append(row | {"note": "no finite value"})
            continue
        row |= {"site": site_name("residual", seen.summary["layer"]), "format": f"int{bits}"}
        if seen.summary["dtype"] == "float32":
            rows.append(row | {"note": "the tensor is float32, its histogram is of rounded values"})
            continue
        for policy in ("max", f"quantile_{quantile}"):
            found = {
                THEIRS: _theirs(seen, policy, bins, bits, quantile),
                EXACT: _exact(seen, policy, bits),
                STRATIFIED: _stratified(member, seen.summary["layer"], policy, bits),
            }
            for method, values in found.items():
                domains = seen.summary["domains"]["stratified" if method == STRATIFIED else "first_lines"]
                told = {f"{split}_domains": _written(counts) for split, counts in domains.items()}
                rows.append({**row, "method": method, "policy": policy, **values, **told})
    return typed(rows, _COLUMNS)


def paper_check_sites(members: Sequence[Member], bins: int, bits: int, quantile: float) -> pd.DataFrame:
    """The check corrected (stratified splits, exact quantile) at every measured site of each checkpoint that has it.

    max_*, clip_*: errors of the largest |x| and of the quantile `clip` as threshold; clip_rate: the share that is clipped.
    better: which of the two has the larger SQNR, with equal ones "equal", and null where either has none.
    peak: whether it is the site of `paper_check`; there authors_* is the authors' method on the first lines, null elsewhere.
    """
    rows: list[dict[str, Any]] = []
    clip = f"quantile_{quantile}"
    for member in in_order(members):
        seen = member.first_lines
        if seen is None:
            continue
        known = {
            (row["site"], row["policy"]): row
            for row in member.errors[member.errors["format"] == f"int{bits}"].to_dict("records")
        }
        for site in member.sites[member.sites.status == "measured"].to_dict("records"):
            row = {
                **marks(member),
                "site": site_name(site["component"], site["layer"]),
                "format": f"int{bits}",
                "clip": clip,
            }
            row["peak"] = site["component"] == "residual" and site["layer"] == seen.summary["layer"]
            for policy, prefix in (("max", "max"), (clip, "clip")):
                found = known.get((site["site"], policy))
                row |= _noted(found, prefix, site["dtype"], f"int{bits} with {policy}")
            row["better"] = _better(row)
            if row["peak"] and seen.summary["dtype"] != "float32":
                for policy, prefix in (("max", "authors_max"), (clip, "authors_clip")):
                    theirs = _theirs(seen, policy, bins, bits, quantile)
                    row |= {f"{prefix}_{name}": theirs[name] for name in _AT_SITES if name in theirs}
                    if "note" in theirs:
                        told = f"authors' method with {policy}: {theirs['note']}"
                        row["note"] = f"{row['note']}; {told}" if "note" in row else told
            rows.append(row)
    return typed(rows, _SITE_COLUMNS)


def _noted(found: dict[Any, Any] | None, prefix: str, dtype: str, named: str) -> dict[str, Any]:
    """What is stored of a site under a policy, or why nothing is."""
    if found is not None:
        told = {f"{prefix}_{name}": found[name] for name in _AT_SITES} | {"elements": found["elements"]}
        return told | ({"clip_rate": found["clip_rate"]} if prefix == "clip" else {})
    if dtype == "float32":
        return {"note": "the tensor is float32, its histogram is of rounded values"}
    return {"note": f"{named} is not in the study's quantize section"}


def _better(row: Mapping[str, Any]) -> str | None:
    largest, clipped = row.get("max_sqnr_db"), row.get("clip_sqnr_db")
    if largest is None or clipped is None or pd.isna(largest) or pd.isna(clipped):
        return None
    return "equal" if largest == clipped else "max" if largest > clipped else "clip"


def _theirs(seen: FirstLines, policy: str, bins: int, bits: int, quantile: float) -> dict[str, Any]:
    dtype, calibration = seen.summary["dtype"], seen.of("calibration")
    how: Threshold = largest(calibration[0], dtype)
    if policy != "max":
        how = linear_quantile(*calibration, dtype, quantile, bins)
    found = their_error(*seen.of("evaluation"), dtype, how.value, bits)
    told = {"threshold": how.value, "bin": how.bin, "quantile_at_least": how.at_least, "quantile_below": how.below}
    if found is None:
        return told | {"note": "threshold 0: left out by their method" if how.value == 0 else "no finite value"}
    return told | vars(found)


def _exact(seen: FirstLines, policy: str, bits: int) -> dict[str, Any]:
    both = seen.of("calibration"), seen.of("evaluation")
    (found,) = tensor_errors(*both, seen.summary["dtype"], [f"int{bits}"], [policy])
    return {name: found[name] for name in ("threshold", "elements", *_ERRORS)}


def _stratified(member: Member, layer: int, policy: str, bits: int) -> dict[str, Any]:
    errors = member.errors
    here = (errors.component == "residual") & errors.layer.eq(layer).fillna(False).astype(bool)
    rows = errors[here & (errors["format"] == f"int{bits}") & (errors.policy == policy)].to_dict("records")
    if not rows:
        return {"note": f"int{bits} with {policy} is not in the study's quantize section"}
    return {name: rows[0][name] for name in ("threshold", "elements", *_ERRORS)}


def _written(domains: Mapping[str, int]) -> str:
    """`code 29, chinese 19`, the largest first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(domains.items(), key=lambda item: (-item[1], item[0])))
