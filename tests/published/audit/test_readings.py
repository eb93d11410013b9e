"""What only the released code shows."""

from __future__ import annotations

from collections.abc import Callable

from maxact.published.audit import readings
from maxact.published.audit.finding import Finding
from maxact.published.audit.reading import READINGS
from maxact.published.files import Published
from published.audit.faults import MODELS, A, B, statistics, what


def test_readings_are_told_where_the_files_have_what_they_are_about(read: Callable[..., Published]) -> None:
    names = {reading.__name__ for reading in READINGS}
    architectures = {A: "qwen3_5", B: "gpt_oss"}
    every = read(lambda f: [statistics(f, name).update(model_type=kind) for name, kind in architectures.items()])
    assert {finding.name for finding in readings(every)} == names
    who = {finding.name: finding.rows.get("checkpoint") for finding in readings(every)}
    assert [list(who[name]) for name in ("two_kinds_of_attention", "dequantized")] == [[A], [B]]  # type: ignore[arg-type]
    without = read(
        lambda f: [f.pop(path) for path in list(f) if path.startswith(("quant/", "bootstrap/"))],
        lambda f: statistics(f, "deep-4b").update(model_type="gemma"),
    )
    apart = {"consecutive_lines", "without_replacement", "range_for_deviation", "not_what_is_added"}
    apart |= {"two_kinds_of_attention", "dequantized"}
    assert {finding.name for finding in readings(without)} == names - apart


def test_the_lower_median_is_of_even_sizes(read: Callable[..., Published]) -> None:
    def odd(*names: str) -> Finding | None:
        published = read(lambda f: [statistics(f, name).update(hidden_size=15) for name in names])
        return next((found for found in readings(published) if found.name == "lower_median"), None)

    assert "even in 4 of 4 checkpoints" in what(odd())
    assert "even in 3 of 4 checkpoints" in what(odd(A))
    assert odd(*(model.name for model in MODELS)) is None
