"""A figure or table that is asked for by a wrong name is told in one line; all else on a command line is left alone."""

from __future__ import annotations

import pytest

from maxact.errors import UserError
from maxact.results.targets import refuse_unknown_targets

MADE = {"figures": ["global_maxima", "per_layer"], "tables": ["global_maxima", "checkpoints"]}
NAMED = {"figures": [*MADE["figures"], "saturation"], "tables": [*MADE["tables"], "experts"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reports/pocket/figures/global_maximum.pdf"], "no target; did you mean 'global_maxima'?"),
        (["--cores", "1", "reports/pocket/tables/xyz.csv"], "tables of this study are global_maxima, checkpoints"),
        (["reports/pocket/figures/per_layer.svg"], "no target; figures are made as pdf, png"),
        (["reports/pocket/figures/saturation.pdf"], "the study pocket has not what it is made from"),
        (["reports/published/figures/per_layer.pdf"], "of the study published, and this is pocket; say --configfile"),
        (["--cores", "1", "--", "per_layer"], "say reports/pocket/figures/per_layer.pdf"),
        (["--configfile", "a.yaml", "-n", "per_layer"], "say reports/pocket/figures/per_layer.pdf"),
        (["reports/pocket/tables/claims.md"], "no target; say reports/pocket/claims.md"),
        (["experts"], "the study pocket has not what it is made from"),
    ],
)
def test_a_wrong_name_is_told(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_unknown_targets(words, "pocket", MADE, NAMED)
    assert told in str(caught.value)
    assert str(caught.value).startswith(words[-1])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--cores", "1", "reports/pocket/figures/global_maxima.pdf", "reports/pocket/tables/checkpoints.html"],
        ["reports/pocket/report.html", "--report", "reports/pocket/figures/mine.html", "--until", "checkpoints"],
        ["--until", "study_report", "per_layer"],
        ["--omit-from", "a", "checkpoints"],
        ["--cores", "per_layer"],
        ["figure_per_layer", "results", "artifacts/pocket/measure/a.json", "/reports/pocket/figures/x.pdf"],
    ],
)
def test_what_snakemake_knows_is_left_to_it(words: list[str]) -> None:
    refuse_unknown_targets(words, "pocket", MADE, NAMED)
