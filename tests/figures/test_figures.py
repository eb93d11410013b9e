"""Figures are drawn from the stored tables of any study, say what is missing, and have the same bytes each time."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from results.members import moe, nothing_finite, planted, real

from maxact.figures.registry import FIGURES
from maxact.figures.stage import compute, read_frame
from maxact.figures.style import styled
from maxact.results import tables
from maxact.results.tables import Member
from maxact.results.text import to_csv
from maxact.store.job import Job, Product
from maxact.store.objects import Manifest, Store

STYLE = {"width_inches": 7.0, "font_size": 8.0, "dots_per_inch": 100}
STUDIES = {
    "pocket": lambda: [real(), planted(), moe()],
    "real alone": lambda: [real()],
    "planted alone": lambda: [planted()],
    "one not finite": lambda: [real(), nothing_finite(), planted()],
    "nothing finite": lambda: [nothing_finite()],
    "many": lambda: [real(), *(planted(f"planted-with-a-rather-long-name-{number}") for number in range(6))],
}


def write_frames(members: list[Member], folder: Path) -> dict[str, Path]:
    """What figures read, as the results write it."""
    files = {name: folder / name for name in ("global_maxima.csv", "layers.parquet", "errors.parquet")}
    files["global_maxima.csv"].write_text(to_csv(tables.global_maxima(members)))
    tables.layers(members).to_parquet(files["layers.parquet"], index=False)
    tables.errors(members).to_parquet(files["errors.parquet"], index=False)
    return files


def drawn(name: str, members: list[Member], folder: Path, dots_per_inch: int = 100) -> tuple[Figure, list[str]]:
    """The figure, laid out, and all its visible text."""
    files = write_frames(members, folder)
    read = {item: read_frame(file) for item, file in files.items()}
    with styled(STYLE):
        figure = importlib.import_module(FIGURES[name].module).draw(
            {item: read[item] for item in FIGURES[name].reads}, STYLE
        )
        figure.set_dpi(dots_per_inch)
        figure.draw_without_rendering()
    shown = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return figure, [artist.get_text() for artist in shown if artist.get_text().strip()]


def job_on(name: str, members: list[Member], folder: Path, style: dict[str, float]) -> Product:
    folder.mkdir()
    store = Store(folder / "store")
    objects = {item: store.put(file) for item, file in write_frames(members, folder).items()}
    manifest = Manifest("results", "results", "0" * 64, {}, objects, {})
    scratch = folder / "scratch"
    scratch.mkdir()
    return compute(Job("figures", name, style, {"results": manifest}, {"results": FIGURES[name].reads}, store, scratch))


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_any_study_names_its_checkpoints_and_what_they_are(
    name: str, study: str, tmp_path: Path
) -> None:
    members = STUDIES[study]()
    _, texts = drawn(name, members, tmp_path)
    text = " ".join(" ".join(texts).split())
    if any(member.headline["M"] for member in members):
        for member in members:
            assert member.name.replace("-", "") in text.replace("-", "").replace(" ", "")
        assert ("says nothing about released models" in text) == any(member.kind == "planted" for member in members)
        assert ("dequantized from GGUF Q4_1" in text) == any(member.kind == "real" for member in members)
    assert ("no finite activation" in text) == ("finite" in study)
    assert "$" not in text


@pytest.mark.parametrize("dots_per_inch", [100, 150, 200])
@pytest.mark.parametrize("name", FIGURES)
def test_all_text_is_inside_the_figure_and_large_enough(name: str, dots_per_inch: int, tmp_path: Path) -> None:
    figure, _ = drawn(name, STUDIES["pocket"](), tmp_path, dots_per_inch)
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


@pytest.mark.parametrize("study", ["pocket", "one not finite"])
def test_checkpoint_names_do_not_overlap(study: str, tmp_path: Path) -> None:
    for name in FIGURES:
        figure, _ = drawn(name, STUDIES[study](), tmp_path)
        named = [text for text in figure.findobj(Text) if text.get_visible() and "\n(" in text.get_text()]
        assert len(named) == 3
        boxes = [text.get_window_extent() for text in named]
        assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at]), name


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


def test_the_same_data_give_the_same_bytes_and_another_style_others(tmp_path: Path) -> None:
    for name in FIGURES:
        made = [
            job_on(name, STUDIES["planted alone"](), tmp_path / f"{name}-{number}", style).files
            for number, style in enumerate([STYLE, STYLE, {**STYLE, "font_size": 11.0}])
        ]
        assert set(made[0]) == {f"{name}.pdf", f"{name}.png"}
        for item in made[0]:
            first, again, other = (files[item].read_bytes() for files in made)
            assert first == again
            assert first != other


def test_a_figure_has_the_width_that_was_asked_and_embeds_its_fonts(tmp_path: Path) -> None:
    files = job_on("per_layer", STUDIES["pocket"](), tmp_path / "job", STYLE).files
    assert matplotlib.image.imread(files["per_layer.png"]).shape[1] == 700
    pdf = files["per_layer.pdf"].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_the_names_of_figures_are_known_without_matplotlib() -> None:
    code = "import sys, maxact.figures.registry; sys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
