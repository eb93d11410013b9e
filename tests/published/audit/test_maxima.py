"""Ties, signs and steps of the maxima."""

from __future__ import annotations

from collections.abc import Callable

from maxact.published.audit import maxima
from maxact.published.audit.finding import Severity
from maxact.published.audit.maxima import spacing
from maxact.published.files import Published
from published.audit.faults import A, B, Files, put_sign, put_tie, site, what


def test_a_tie_of_components_changes_a_conclusion_and_one_of_layers_a_number(read: Callable[..., Published]) -> None:
    across = maxima.ties(read(lambda f: put_tie(f, A)))
    within = maxima.ties(read(lambda f: site(f, A, "layer_2_hidden").update(max=512.0)))
    assert across is not None
    assert within is not None
    assert (across.severity, within.severity) == (Severity.CONCLUSION, Severity.NUMBER)
    assert within.rows.iloc[0].to_dict() | {"checkpoint": A} == {
        **{"checkpoint": A, "M": 512.0, "first": "layer_1_hidden", "sites": 2, "components": "hidden"},
        **{"bfloat16_spacing": 4.0, "sites_within_one_spacing": 2},
    }


def test_the_spacing_is_that_of_eight_significant_bits() -> None:
    assert [spacing(value) for value in (1.0, 255.0, 256.0, -145408.0, 0.0)] == [2**-7, 1.0, 2.0, 1024.0, 0.0]


def test_the_step_from_the_embedding_is_counted_apart(read: Callable[..., Published]) -> None:
    def first_layer(files: Files) -> None:
        peak = max(abs(site(files, A, "embedding_output")[end]) for end in ("max", "min"))
        x = site(files, A, "layer_0_hidden")
        x.update(max=16 * peak, sun_peak_abs=16 * peak)
        site(files, A, "layer_1_hidden").update(max=32 * peak, min=-2.0)

    plain = what(maxima.emergence_by_sign(read(lambda f: put_sign(f, B))))
    assert "by |x| 4 checkpoints have one, by the largest x 3." in plain
    assert "by |x| 4 of these checkpoints have one with it" in plain
    further = what(maxima.emergence_by_sign(read(lambda f: put_sign(f, B), first_layer)))
    assert "by |x| 3 checkpoints have one" in further
    assert "by |x| 4 of these checkpoints have one with it" in further
