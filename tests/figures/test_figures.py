"""Figures are drawn from the stored tables of any study, say what is missing, and have the same bytes each time."""

from __future__ import annotations

import functools
import itertools
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from results.members import many, moe, nothing_finite, planted, real

from maxact.figures import registry
from maxact.figures.scatter import BESIDE, cross, places_of_names, spread
from maxact.figures.stage import compute, draw, read_frame
from maxact.figures.style import PAGE_INCHES, decades, styled
from maxact.quantize.ways import GRANULARITIES
from maxact.results import stage, tables
from maxact.results.absent import with_absent
from maxact.results.member import Member, marks
from maxact.results.registry import MEASURED, made_of
from maxact.results.text import to_csv
from maxact.store.job import Job, Product
from maxact.store.objects import Manifest, Store

FIGURES = {
    name: figure
    for name, figure in made_of(registry.FIGURES, MEASURED | {"matched_sizes"}).items()
    if not name.endswith(("_linear_inputs", "_kv_cache"))
}
"""But for those that differ from another in their rows alone; `scaling`, which names families, has tests of its own."""
Place = tuple[float, float]
STYLE = {"width_inches": 7.0, "font_size": 8.0, "dots_per_inch": 100}
STUDIES = {
    "pocket": lambda: [real(), planted(), moe()],
    "real alone": lambda: [real()],
    "planted alone": lambda: [planted()],
    "one not finite": lambda: [real(), nothing_finite(), planted()],
    "nothing finite": lambda: [nothing_finite()],
    "many": lambda: [real(), *(planted(f"planted-with-a-rather-long-name-{number}") for number in range(6))],
}
ABSENT = {"one not finite": {"gone-1b": "files.json: not valid JSON"}}
"""By study: checkpoints that could not be had."""
COMPARED = {"matched_sizes"}
"""Figures that show the members of groups, not every checkpoint."""
ROUTED = "moe_router_gate"
"""Shows the checkpoints that have a router."""
ASKED = "perplexity_cost"
"""Shows the real checkpoints that a study asks it of."""
REAL_ALONE = {"error_vs_M"}
"""Figures that leave planted checkpoints out; they name those that are shown in words below the panels."""
UNMEASURED = {"per_layer_inside"}
"""Figures of components that these members were not measured at."""


def questions_of(members: list[Member]) -> dict[str, dict[str, list[str]]]:
    """At most six groups of neighbours, as the paper has, as far as there are two members; a question has none."""
    names = [member.name for member in members]
    size = max(2, math.ceil(len(names) / 6))
    pairs = {f"group-{at}": names[at : at + size + 1] for at in range(0, len(names) - 1, size)}
    return {"scaling": {}, "matched_sizes": {name: group for name, group in pairs.items() if len(group) > 1}}


def has(name: str, study: str) -> bool:
    """Whether a study has the figure: one of a question needs a group."""
    return name not in COMPARED or bool(questions_of(STUDIES[study]())["matched_sizes"])


def write_frames(members: list[Member], folder: Path, absent: dict[str, str] | None = None) -> dict[str, Path]:
    """What figures read, as the results write it; who is absent stands after the first in the study."""
    files = {"global_maxima.csv": folder / "global_maxima.csv"}
    absent = absent or {}
    order = [members[0].name, *absent, *(member.name for member in members[1:])]
    files["global_maxima.csv"].write_text(to_csv(with_absent(tables.global_maxima(members), absent, order)))
    for name, frame in stage.drawn(members, questions_of(members), absent, order=order).items():
        files[f"{name}.parquet"] = file = folder / f"{name}.parquet"
        frame.to_parquet(file, index=False)
    return files


def named(figure: Figure, members: list[Member]) -> list[Text]:
    """The visible texts that begin with a checkpoint's name."""
    names = tuple(member.name for member in members)
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().startswith(names)]
    return [text for text in texts if text.get_window_extent().width]


def drawn(name: str, members: list[Member], folder: Path) -> tuple[Figure, list[str]]:
    """The figure, laid out, and all its visible text."""
    return laid_out(name, read_frames(members, folder))


def read_frames(members: list[Member], folder: Path, absent: dict[str, str] | None = None) -> dict[str, pd.DataFrame]:
    """What figures read, as they read it."""
    return {item: read_frame(file) for item, file in write_frames(members, folder, absent).items()}


@functools.cache
def frames_of(study: str) -> dict[str, pd.DataFrame]:
    """What figures of one of `STUDIES` read. Its tables are made once; a figure is given copies (`laid_out`)."""
    with tempfile.TemporaryDirectory() as folder:
        return read_frames(STUDIES[study](), Path(folder), ABSENT.get(study))


def laid_out(name: str, read: dict[str, pd.DataFrame], dots_per_inch: int = 100) -> tuple[Figure, list[str]]:
    """The figure of frames that were read, laid out, and all its visible text."""
    with styled(STYLE):
        figure = draw(name, {item: read[item].copy() for item in FIGURES[name].reads}, STYLE)
        figure.set_dpi(dots_per_inch)
        figure.draw_without_rendering()
    shown = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return figure, [artist.get_text() for artist in shown if artist.get_text().strip()]


def job_on(name: str, files: dict[str, Path], folder: Path, style: dict[str, float]) -> Product:
    folder.mkdir()
    store = Store(folder / "store")
    objects = {item: store.put(Path(shutil.copy(files[item], folder))) for item in FIGURES[name].reads}
    manifest = Manifest("results", "results", "0" * 64, {}, objects, {})
    scratch = folder / "scratch"
    scratch.mkdir()
    return compute(Job("figures", name, style, {"results": manifest}, {"results": FIGURES[name].reads}, store, scratch))


@pytest.mark.parametrize(
    ("name", "study"), [(name, study) for name in FIGURES for study in STUDIES if has(name, study)]
)
def test_every_figure_of_any_study_can_be_read_and_names_its_checkpoints_and_what_they_are(
    name: str, study: str
) -> None:
    members = STUDIES[study]()
    figure, texts = laid_out(name, frames_of(study))
    names_checkpoints(name, study, members, texts)
    if study in ABSENT and name not in COMPARED:
        names_absent(texts)
    if study == "pocket" or (study in ABSENT and figure.axes):
        inside(figure)
    if study in ("pocket", "one not finite") and name not in {ASKED, ROUTED, *REAL_ALONE}:
        apart(figure, members)


def names_absent(texts: list[str]) -> None:
    """A checkpoint that could not be had has a place that says so, or is named beside the figure."""
    text = " ".join(" ".join(texts).split()).replace("- ", "-")
    assert "gone-1b" in text
    assert "not available" in text
    assert "JSON" not in text


def names_checkpoints(name: str, study: str, members: list[Member], texts: list[str]) -> None:
    """The texts name the checkpoints that the figure shows, and what is planted, dequantized or missing."""
    text = " ".join(" ".join(texts).split())
    shown = [member for member in members if member.headline["M"] or name not in COMPARED]
    if name in REAL_ALONE:
        shown = members = [member for member in shown if member.kind == "real"]
        if not shown:
            assert "no real checkpoint" in text
            return
    if name == ASKED:
        told = [member.name for member in members if member.perplexity is not None]
        assert all(member.replace("-", "") in text.replace("-", "").replace(" ", "") for member in told)
        assert ("asks no checkpoint" in text) == (not told)
        return
    if name == ROUTED:
        shown = members = [member for member in members if "router_logits" in set(member.sites.component)]
        if not shown:
            assert text.startswith("no mixture of experts in this study")
            return
    if any(member.headline["M"] for member in members):
        for member in shown:
            assert member.name.replace("-", "") in text.replace("-", "").replace(" ", "")
        assert ("says nothing about released models" in text) == any(member.kind == "planted" for member in shown)
        assert ("dequantized" in text) == any("dequantized" in member.summary["ancestry"] for member in members)
    elif name in {"saturation", "clipping_curve"}:
        assert all(f"no finite activation: {member.name}" in text for member in members)
    if name in UNMEASURED:
        assert "not measured" in text
    elif name not in COMPARED:
        assert bool(re.search(r"\b(no|not|nothing) finite", text)) == ("finite" in study)
    assert "$" not in text


@pytest.mark.parametrize("dots_per_inch", [150, 200])
@pytest.mark.parametrize("name", FIGURES)
def test_all_text_is_inside_the_figure_and_large_enough_in_any_resolution(name: str, dots_per_inch: int) -> None:
    figure, _ = laid_out(name, frames_of("pocket"), dots_per_inch)
    inside(figure)


def inside(figure: Figure) -> None:
    """All text is large enough to be read, and none of it is cut off."""
    box = figure.bbox
    # Matplotlib keeps labels of ticks beyond an axis, and does not draw them.
    ticks = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()}
    texts = set(figure.findobj(Text)) - ticks
    assert len(texts) > 3
    for text in texts:
        extent = text.get_window_extent()
        if text.get_visible() and text.get_text().strip() and extent.width:
            assert text.get_fontsize() >= STYLE["font_size"] - 2
            assert box.x0 - 1 <= extent.x0, text
            assert extent.x1 <= box.x1 + 1, text
            assert box.y0 - 1 <= extent.y0, text
            assert extent.y1 <= box.y1 + 1, text


def apart(figure: Figure, members: list[Member]) -> None:
    """No name of a checkpoint lies on another; of a name with a line to a point, the name alone counts."""
    texts = named(figure, members)
    assert texts
    boxes = [Text.get_window_extent(text).padded(-0.5) for text in texts]
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


@pytest.fixture(scope="module")
def as_many_as_the_paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Member], dict[str, pd.DataFrame]]:
    members = many()
    return members, read_frames(members, tmp_path_factory.mktemp("many"))


@pytest.mark.parametrize("name", FIGURES)
def test_as_many_checkpoints_as_the_paper_has_can_be_read(
    name: str, as_many_as_the_paper: tuple[list[Member], dict[str, pd.DataFrame]]
) -> None:
    members, read = as_many_as_the_paper
    figure, texts = laid_out(name, read)
    assert figure.get_figheight() <= PAGE_INCHES
    shown = [member for member in members if name != ROUTED or "router_logits" in set(member.sites.component)]
    assert all(any(member.name in text.replace("\n", "") for text in texts) for member in shown)
    inside(figure)
    if name not in REAL_ALONE:
        apart(figure, members)


def test_every_granularity_of_as_many_checkpoints_as_the_paper_has_can_be_read() -> None:
    """Formats of a study with all granularities; one checkpoint has exact sites, one nothing finite, one nothing."""
    columns = [(format, name) for format in ("int8", "int4", "fp8_e4m3") for name in ("tensor", *GRANULARITIES)]
    columns += [(format, "block") for format in ("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "nvfp4")]
    members, rows = many(), []
    for number, member in enumerate(members):
        for at, (format, name) in enumerate(columns if number != 1 else columns[:1]):
            value = {1: math.nan, 2: math.inf, 3: math.nan}.get(number, 5.0 + at)
            named = {"tensors": "residual stream", "format": format, "granularity": name, "median_sqnr_db": value}
            rows.append({**marks(member), **named})
    figure, texts = laid_out("granularity_heatmap_residual", {"granularities.parquet": pd.DataFrame(rows)})
    assert figure.get_figheight() <= PAGE_INCHES
    assert {"no finite value", "∞"} <= set(texts)
    assert any(text.startswith("residual stream") for text in texts)
    inside(figure)
    apart(figure, members)


def test_why_a_checkpoint_has_no_row_of_granularities_is_said_below_them() -> None:
    known = {"format": "int8", "granularity": "token", "median_sqnr_db": 5.0, "note": None}
    unknown = {"format": None, "granularity": None, "median_sqnr_db": math.nan}
    told = [("one", known), ("two", unknown | {"note": "float32: why"}), ("three", unknown | {"note": "not there"})]
    told.append(("four", unknown | {"note": "float32: why"}))
    rows = [{**marks(real()), "tensors": "residual stream", "checkpoint": name, **row} for name, row in told]
    figure, texts = laid_out("granularity_heatmap_residual", {"granularities.parquet": pd.DataFrame(rows)})
    below = "\n".join(texts)
    assert "not shown, float32: why: two" in below
    assert ", four" in below
    assert "not shown, not there: three" in below
    assert [text.get_text().split()[0] for text in figure.axes[0].get_yticklabels()] == ["one"]
    inside(figure)
    _, (alone,) = laid_out("granularity_heatmap_residual", {"granularities.parquet": pd.DataFrame(rows[1:])})
    assert "not shown, not there: three" in alone


@pytest.mark.parametrize("name", ["error_by_site_residual", "granularity_heatmap_residual"])
def test_a_figure_of_one_kind_of_tensor_shows_its_rows_alone(name: str, tmp_path: Path) -> None:
    other = f"{name.removesuffix('_residual')}_kv_cache"
    read = read_frames([real()], tmp_path)
    with styled(STYLE):
        figure = draw(other, {item: read[item] for item in registry.FIGURES[other].reads}, STYLE)
    (text,) = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    assert "not measured" in text or "no checkpoint" in text
    _, texts = drawn(name, [real()], tmp_path)
    assert any(text.startswith("residual stream: ") for text in texts)


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.1))
def test_names_beside_a_panel_keep_their_order_and_distance(heights: list[float], gap: float) -> None:
    places = spread(sorted(heights), gap)
    assert all(later - earlier >= gap - 1e-9 for earlier, later in itertools.pairwise(places))
    if gap * len(places) <= 1:
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert spread([0.1, 0.5], 0.1) == [0.1, 0.5]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_lines_from_names_to_points_do_not_cross(grid: list[tuple[int, int]]) -> None:
    points = [(across / 20, up / 20) for across, up in grid]
    places = places_of_names(points, 0.03)
    assert sorted(places) == sorted(spread(sorted(up for _, up in points), 0.03))
    ends = list(zip(points, places, strict=True))
    for (one, place), (other, place_of_other) in itertools.combinations(ends, 2):
        assert not cross(one, place, other, place_of_other)
        assert not crossing(one, (BESIDE, place), other, (BESIDE, place_of_other))


def crossing(a: Place, b: Place, c: Place, d: Place) -> bool:
    """Whether the segments ab and cd cross at a point inside both: each has the ends of the other on two sides of it."""

    def side(p: Place, q: Place, r: Place) -> float:
        turn = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        return 0.0 if abs(turn) < 1e-7 else turn

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


@pytest.mark.parametrize(("low", "high"), [(3.0, 5.0), (1e-3, 2.0), (10.0, 10.0), (23.5, 696320.0)])
def test_limits_are_powers_of_ten_around_the_data(low: float, high: float) -> None:
    below, above = decades(low, high)
    assert below <= low <= high <= above
    assert above / below >= 9.99


@pytest.mark.parametrize("name", ["NA", "null", "nan", "007", "1e5"])
def test_a_name_that_looks_like_a_number_or_like_nothing_stays_a_name(name: str, tmp_path: Path) -> None:
    for alone in (True, False):
        folder = tmp_path / str(alone)
        folder.mkdir()
        _, texts = drawn("global_maxima", [real(name=name), *([] if alone else [planted()])], folder)
        assert any(text.startswith(f"{name}\n") for text in texts)


def test_a_largest_value_of_zero_is_a_gap_and_not_a_small_number(tmp_path: Path) -> None:
    member = planted()
    at = (member.sites.component == "residual") & member.sites.layer.eq(1).fillna(False)
    member.sites.loc[at.astype(bool), "peak"] = 0.0
    figure, _ = drawn("per_layer", [member], tmp_path)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "residual")
    assert pd.isna(list(line.get_ydata())).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("layers", "marked"), [(4, [0, 2]), (24, list(range(0, 24, 2)))])
def test_a_layer_between_gaps_has_a_mark_as_no_line_shows_it(layers: int, marked: list[int], tmp_path: Path) -> None:
    member = real(layers=layers)
    odd = (member.sites.component == "residual") & member.sites.layer.mod(2).eq(1).fillna(False)
    member.sites.loc[odd.astype(bool), "peak"] = 0.0
    figure, _ = drawn("per_layer", [member], tmp_path)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    line = lines["residual"]
    assert line.get_marker() == "."
    assert [at for at, there in enumerate(line.get_markevery()) if there] == list(marked)
    assert (lines["attention output"].get_marker() == ".") == (layers < 12)


def test_the_same_data_give_the_same_bytes_and_another_style_others(tmp_path: Path) -> None:
    written = write_frames(STUDIES["planted alone"](), tmp_path)
    for name in [name for name in FIGURES if has(name, "planted alone")]:
        made = [
            job_on(name, written, tmp_path / f"{name}-{number}", style).files
            for number, style in enumerate([STYLE, STYLE, {**STYLE, "font_size": 11.0}])
        ]
        assert set(made[0]) == {f"{name}.pdf", f"{name}.png"}
        for item in made[0]:
            first, again, other = (files[item].read_bytes() for files in made)
            assert first == again
            assert first != other


def test_a_figure_has_the_width_that_was_asked_and_embeds_its_fonts(tmp_path: Path) -> None:
    files = job_on("per_layer", write_frames(STUDIES["pocket"](), tmp_path), tmp_path / "job", STYLE).files
    assert matplotlib.image.imread(files["per_layer.png"]).shape[1] == 700
    pdf = files["per_layer.pdf"].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_the_names_of_figures_are_known_without_matplotlib() -> None:
    code = "import sys, maxact.figures.registry; sys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
