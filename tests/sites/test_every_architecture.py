"""Every causal language model of transformers, as a tiny random model: each site is what it is said to be."""

from __future__ import annotations

import pytest
from sites.architectures import NAMES
from sites.outcomes import PAGE, README, outcome, page, summary, with_summary

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("architectures")]


@pytest.mark.parametrize("name", NAMES)
def test_every_site_equals_what_other_means_see_or_says_why_not(name: str) -> None:
    found = outcome(name)
    assert found.refused or not any(
        "not in this architecture" in reason for why in found.missing.values() for reason in why
    )


def test_the_page_and_the_readme_say_what_is_so() -> None:
    outcomes = [outcome(name) for name in NAMES]
    assert PAGE.read_text(encoding="utf-8") == page(outcomes)
    readme = README.read_text(encoding="utf-8")
    assert readme == with_summary(readme, summary(outcomes))
