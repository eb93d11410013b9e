"""A figure or table that is asked for by a wrong name is told in one line; other targets are left alone."""

from __future__ import annotations

import pytest

from maxact.errors import UserError
from maxact.results.targets import refuse_unknown_targets

MADE = {"figures": ["global_maxima", "per_layer"], "tables": ["global_maxima", "checkpoints"]}
NAMED = {"figures": [*MADE["figures"], "saturation"], "tables": [*MADE["tables"], "experts"]}


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["reports/pocket/figures/global_maximum.pdf"], "no target; did you mean 'global_maxima'?"),
        (["per_layer_of_mine", "reports/pocket/tables/xyz.csv"], "tables of this study are global_maxima, checkpoints"),
        (["reports/pocket/figures/per_layer.svg"], "no target; figures are made as pdf, png"),
        (["reports/pocket/figures/saturation.pdf"], "the study pocket has not what it is made from"),
        (["reports/published/figures/per_layer.pdf"], "of the study published, and this is pocket; say --configfile"),
        (["reports/pocket/figures/per_layer.png", "per_layer"], "say reports/pocket/figures/per_layer.pdf"),
        (["reports/pocket/tables/claims.md"], "no target; say reports/pocket/claims.md"),
        (["experts"], "the study pocket has not what it is made from"),
    ],
)
def test_a_wrong_name_is_told(targets: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_unknown_targets(targets, "pocket", MADE, NAMED)
    assert told in str(caught.value)
    assert str(caught.value).startswith(targets[-1])


@pytest.mark.parametrize(
    "targets",
    [
        [],
        ["reports/pocket/figures/global_maxima.pdf", "reports/pocket/tables/checkpoints.html"],
        ["reports/pocket/report.html"],
        ["figure_per_layer", "results", "artifacts/pocket/measure/a.json", "/reports/pocket/figures/x.pdf"],
    ],
)
def test_what_snakemake_knows_is_left_to_it(targets: list[str]) -> None:
    refuse_unknown_targets(targets, "pocket", MADE, NAMED)
