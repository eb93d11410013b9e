"""A family has one colour everywhere, and what stands for it has the same."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from maxact.figures.families import FAMILIES, family_color, member_colors
from maxact.study import load_study

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("study", ["config.yaml", "studies/pocket.yaml"])
def test_families_of_the_paper_have_colours_of_their_own(study: str) -> None:
    names = {name.removeprefix("planted-") for name in load_study(REPOSITORY / study).families}
    assert names - {"smollm2"} <= set(FAMILIES)


def test_colours_are_apart() -> None:
    for one, other in combinations(FAMILIES.values(), 2):
        assert max(abs(a - b) for a, b in zip(to_rgb(one), to_rgb(other), strict=True)) > 0.1


def test_members_of_one_family_have_shades_and_others_their_own() -> None:
    colors = member_colors(["qwen3", "gemma3", "qwen3", "qwen3"])
    assert colors[1] == family_color("gemma3").lower()
    assert colors[0] == family_color("qwen3").lower()
    light = [sum(to_rgb(color)) for color in (colors[0], colors[2], colors[3])]
    assert light == sorted(set(light), reverse=True)
    assert len(light) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_every_shade_of_a_family_is_seen_on_white(family: str) -> None:
    colors = member_colors([family] * 4)
    assert len(set(colors)) == 4
    assert all(sum(to_rgb(color)) < 2.1 for color in colors)


def test_a_planted_family_has_the_colour_that_it_stands_for_and_an_unknown_one_always_the_same() -> None:
    assert family_color("planted-gemma2") == family_color("gemma2")
    assert family_color("olmo") == family_color("olmo")
