"""The section about the paper's INT-8 check: on which checkpoints it is repeated as its authors made it, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from maxact.study.chosen import check_checkpoints
from maxact.study.sections import Name, Positive, Section

if TYPE_CHECKING:
    from maxact.study import Study


class PaperCheck(Section):
    """Beside it stand the same numbers by exact quantiles, and on the study's stratified splits."""

    checkpoints: Annotated[list[Name], Field(min_length=1)]
    calibration: Positive = 128
    """Samples: the first of the corpus, in its order."""
    evaluation: Positive = 256
    """Samples: those that follow."""
    bins: Annotated[int, Field(ge=2, le=1 << 20)] = 2048
    """Of the linear histogram of |x| that the threshold is read off."""
    bits: Annotated[int, Field(ge=2, le=16)] = 8
    quantile: Annotated[float, Field(ge=0.5, lt=1)] = 0.999


def paper_checked(study: Study) -> list[str]:
    """The checkpoints that have the check, in the order of the study."""
    asked = study.paper_check.checkpoints if study.paper_check else []
    return [checkpoint.name for checkpoint in study.checkpoints if checkpoint.name in asked]


def check_paper_check(study: Study) -> None:
    """Compare the section with the others.

    Raises:
        ValueError: what does not hold.
    """
    section = study.paper_check
    if section is None:
        return
    check_checkpoints("paper_check", section.checkpoints, study, real=True)
    wanted = section.calibration + section.evaluation
    if wanted > study.corpus.samples:
        raise ValueError(
            f"paper_check: calibration and evaluation want {wanted} samples, corpus.samples is {study.corpus.samples}"
        )
    if "residual" not in study.measure.components:
        raise ValueError("paper_check: needs residual in measure.components, whose largest value says where to look")
