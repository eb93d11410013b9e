"""The claim that the INT-8 error varies with M."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from maxact.results.claims.claim import CHECKPOINTS, Claim, Reading, Verdict, of_all, unknown
from maxact.results.claims.material import TOLD_M, Material, told
from maxact.results.correlation import spearman
from maxact.results.frames import typed
from maxact.results.member import Member, integer_errors, peak_residual, site_name

STRONG = 0.5
"""A rank correlation from here on is said to vary together."""

MEASURES = {"relative_rmse": 1, "relative_mae": 1, "rmse": 1, "sqnr_db": -1}
"""Columns of the errors, and whether more is worse (1) or better (-1)."""

SCALE_FREE = ("relative_rmse", "relative_mae", "sqnr_db")
"""Those that a checkpoint's scale alone does not change: the paper's."""


def int8(material: Material) -> Claim:
    """Spearman's correlation of M with the error at the site of M, over checkpoints, for each policy and measure.

    A measure that is better when larger has its sign turned. It is read over the measures that have no unit, as an error in
    the tensor's own unit grows with the tensor whatever the format: the claim holds if all correlations reach
    `STRONG`, and in part if some do.
    """
    errors = (
        pd.concat([_at_M(member) for member in material.real], ignore_index=True) if material.real else pd.DataFrame()
    )
    columns = {**TOLD_M, "error_at": "str", "policy": "str", "format": "str", **dict.fromkeys(MEASURES, "float64")}
    if errors.empty:
        return Claim("int8", unknown(_CHOICE, "no checkpoint with an INT-8 error at its M"), typed([], columns))
    single = list(_readings(errors, ""))
    residual = list(_readings(errors[errors.component == "residual"], "; errors of the residual stream alone"))
    rows = errors[list(columns)].to_dict("records")
    return Claim("int8", _together(single), typed(rows, columns), (*single, *residual))


_CHOICE = "relative RMSE, relative MAE and SQNR, for each policy"


def _at_M(member: Member) -> pd.DataFrame:
    """Its errors at the site of M, else at the residual site of largest |x|, with what stands beside a number."""
    found, M = integer_errors(member), member.headline["M"]
    found = found[found.granularity.isna() | (found.granularity == "tensor")]
    same_layer = found.layer.isna() if M["layer"] is None else found.layer.eq(M["layer"]).fillna(False).astype(bool)
    here = found[(found.component == M["component"]) & same_layer]
    here = here if len(here) else found[found.site == peak_residual(member)]
    where = [site_name(component, layer) for component, layer in zip(here.component, here.layer, strict=True)]
    return here.assign(**told(member), error_at=where)


def _readings(errors: pd.DataFrame, suffix: str) -> Iterator[Reading]:
    for policy in sorted(errors.policy.unique()):
        for measure, worse in MEASURES.items():
            part = errors[(errors.policy == policy) & np.isfinite(errors[measure].astype(float)) & (errors.M > 0)]
            yield _reading(f"{measure.replace('_', ' ')}, threshold {policy}{suffix}", part, measure, worse)


def _reading(choice: str, part: pd.DataFrame, measure: str, worse: int) -> Reading:
    if part.checkpoint.nunique() < CHECKPOINTS:
        return unknown(choice, f"known of {part.checkpoint.nunique()} checkpoints, of {CHECKPOINTS} needed")
    found = spearman(part.M.to_numpy(np.float64), worse * part[measure].to_numpy(np.float64))
    if math.isnan(found):
        return unknown(choice, "M or the error is the same in all")
    verdict = Verdict.HOLDS if found >= STRONG else Verdict.IN_PART if found > 0 else Verdict.FAILS
    return Reading(choice, verdict, f"rank correlation {found:+.2f} over {part.checkpoint.nunique()} checkpoints")


def _together(single: Sequence[Reading]) -> Reading:
    names = tuple(name.replace("_", " ") for name in SCALE_FREE)
    read = [reading for reading in single if reading.choice.startswith(names) and reading.verdict != Verdict.UNKNOWN]
    if not read:
        return unknown(_CHOICE, single[0].value if single else "no error is known")
    reached = sum(reading.verdict == Verdict.HOLDS for reading in read)
    text = f"{reached} of {len(read)} reach a rank correlation of {STRONG}"
    return Reading(_CHOICE, of_all(reached, len(read)), text)
