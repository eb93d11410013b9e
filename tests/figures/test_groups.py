"""One question of the comparisons: its groups and no others, M as the table has it, what is missing in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from figures.test_figures import STYLE, inside
from matplotlib.figure import Figure
from matplotlib.text import Text
from results.members import many, moe, nothing_finite, planted, real

from maxact.figures.registry import FIGURES
from maxact.figures.stage import draw
from maxact.figures.style import PAGE_INCHES, styled
from maxact.results import stage
from maxact.results.member import Member
from maxact.results.registry import MEASURED, made_of
from maxact.study.comparisons import Comparisons

CAPTIONS = Path(__file__).parents[2] / "reports" / "captions" / "figures"
OF_QUESTIONS = {
    name: figure.rows[1] for name, figure in FIGURES.items() if figure.rows and figure.rows[0] == "question"
}
Groups = dict[str, list[str]]


def drawn(
    name: str, members: list[Member], questions: dict[str, Groups], absent: dict[str, str] | None = None
) -> tuple[Figure, list[str]]:
    made = stage.drawn(members, questions, absent or {})
    with styled(STYLE):
        figure = draw(name, {item: made[item.removesuffix(".parquet")] for item in FIGURES[name].reads}, STYLE)
        figure.draw_without_rendering()
    return figure, [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def test_each_question_of_a_study_has_a_figure_that_shows_its_groups_alone() -> None:
    members = [real(), planted(), moe()]
    names = [member.name for member in members]
    questions = {question: {f"of {question}": names[:2]} for question in OF_QUESTIONS.values()}
    for name, question in OF_QUESTIONS.items():
        _, texts = drawn(name, members, questions)
        heads = [text.split(":")[0] for text in texts if text.startswith("of ")]
        assert heads == [f"of {question}"]
        assert (CAPTIONS / f"{name}.rst").exists()


def test_lines_are_residual_streams_and_diamonds_stand_at_M() -> None:
    members = [real(), nothing_finite(), planted()]
    groups = {"g": [member.name for member in members] + ["far"]}
    figure, texts = drawn("moe_vs_dense", members, {"moe_vs_dense": groups}, {"far": "no network"})
    (axes,) = figure.axes
    diamonds = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "D"]
    first, last = (member.headline["M"] for member in (members[0], members[2]))
    assert diamonds[0] == [[(first["layer"] + 1) / members[0].summary["layers"], first["value"]]]
    assert [place[0][1] for place in diamonds] == [first["value"], last["value"]]
    assert "far: not available" in texts
    assert any(text.startswith("broken") and text.endswith("nothing finite") for text in texts)
    assert any("says nothing about released models" in text for text in texts)
    assert any(text.startswith("g: ") and "without broken, far" in " ".join(text.split()) for text in texts)
    inside(figure)


def test_a_question_without_groups_has_no_figure() -> None:
    asked = Comparisons(generations={"g": ["a", "b"]}).asked()
    assert {name for name in made_of(FIGURES, MEASURED | asked) if name in OF_QUESTIONS} == {"generations"}


@pytest.mark.parametrize("groups", [1, 6])
def test_no_name_lies_on_another_or_on_a_verdict(groups: int) -> None:
    members = many(6)
    names = [member.name for member in members]
    figure, _ = drawn("moe_vs_dense", members, {"moe_vs_dense": {f"g{at}": names[:5] for at in range(groups)}})
    assert figure.get_figheight() <= PAGE_INCHES
    inside(figure)
    texts = [text for axes in figure.axes for text in (*axes.get_legend().get_texts(), axes._left_title)]
    boxes = [text.get_window_extent().padded(-0.5) for text in texts]
    assert len(boxes) == groups * 6
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


def test_no_line_runs_across_a_layer_that_is_missing() -> None:
    """In `results/members.py` residual streams have several layers; one in the middle is taken out."""
    whole = many(2)[0]
    layers = sorted(int(layer) for layer in whole.sites[whole.sites.component == "residual"].layer)
    gone = layers[len(layers) // 2]
    assert layers[0] < gone < layers[-1]
    without = (whole.sites.component == "residual") & (whole.sites.layer == gone)
    member = replace(whole, sites=whole.sites.assign(status=whole.sites.status.mask(without, "not applicable")))
    for name, at in (("generations", 0), ("top_and_median", 0)):
        figure, _ = drawn(name, [member], {"generations": {"g": [member.name]}})
        heights = figure.axes[0].lines[at].get_ydata()
        assert [bool(np.isnan(height)) for height in heights] == [layer == gone for layer in layers]


def test_no_line_of_a_router_runs_across_a_layer_that_is_missing_and_a_layer_alone_is_a_mark() -> None:
    whole = many(2)[0]
    of_router = whole.sites.component == "router_logits"
    count = int(of_router.sum())
    there = [*range(5), *range(6, count - 2), count - 1]
    gone = of_router & ~whole.sites.layer.isin(there)
    member = replace(whole, sites=whole.sites.assign(status=whole.sites.status.mask(gone, "not applicable")))
    figure, _ = drawn("moe_router_gate", [member], {})
    line = figure.axes[0].lines[0]
    assert [at for at, height in enumerate(line.get_ydata()) if not np.isnan(height)] == there
    assert np.flatnonzero(line.get_markevery()).tolist() == [count - 1]
    assert line.get_marker() == "o"


def test_largest_values_that_are_not_in_the_data_are_not_called_not_finite() -> None:
    member = real()
    figure, texts = drawn("top_and_median", [replace(member, top=member.top.iloc[:0])], {})
    inside(figure)
    assert "not in the data" in texts
