"""Sites and tokens that the statistics are of, and how checkpoints are filed."""

from __future__ import annotations

from collections.abc import Callable

from maxact.published.audit import coverage, series, subsets
from maxact.published.audit.faults import faults_of_files
from maxact.published.audit.finding import Severity
from maxact.published.files import Published
from published.audit.faults import (
    A,
    B,
    Files,
    of,
    put_above,
    put_layer,
    put_limit,
    put_no_gate,
    put_router,
    put_series,
    put_twice,
    site,
    statistics,
    what,
)


def test_the_sentence_on_missing_gates_is_that_of_their_rows(read: Callable[..., Published]) -> None:
    def routed(files: Files) -> None:
        put_router(files, B)
        for layer in range(3):
            del statistics(files, B)["per_layer_stats"][f"layer_{layer}_mlp_gate"]

    dense = coverage.gates_missing(read(lambda f: put_no_gate(f, A)))
    assert "experts" not in what(dense)
    assert f"Of {A} layers have neither a gate nor a router" in what(dense)
    mixture = coverage.gates_missing(read(routed))
    assert f"Of {B} those layers have a router" in what(mixture)
    assert "neither a gate nor" not in what(mixture)
    both = coverage.gates_missing(read(routed, lambda f: put_no_gate(f, A)))
    assert both is not None
    assert {row["checkpoint"]: (row["router_instead"], row["neither"]) for row in of(both)} == {A: (0, 1), B: (3, 0)}
    assert [found.severity for found in (dense, mixture, both) if found] == [
        Severity.NUMBER,
        Severity.CONCLUSION,
        Severity.CONCLUSION,
    ]


def test_a_layer_beyond_the_decoder_is_told_of_the_checkpoint_that_has_it(read: Callable[..., Published]) -> None:
    assert "beyond" not in what(coverage.counted_twice(read(lambda f: put_twice(f, A), lambda f: put_layer(f, B))))
    both = what(coverage.counted_twice(read(lambda f: put_twice(f, A), lambda f: put_layer(f, A))))
    assert f"Of {A} there is also a layer beyond the decoder; the files do not tell whether it is why" in both
    assert (
        "1 are of layers beyond the decoder, which the tables leave out; 1 were kept"
        in what(  # its largest values are missing
            faults_of_files(read(lambda f: put_layer(f, A)))
        )
    )
    assert "left out; 1 were kept" in what(faults_of_files(read(lambda f: put_twice(f, A))))


def test_no_cause_of_limits_and_excess_is_told_that_the_files_have_not(read: Callable[..., Published]) -> None:
    assert what(coverage.limit_unreached(read(lambda f: put_limit(f, A)))).endswith("(at most 8 tokens).")
    assert not any(
        digit in what(subsets.above_whole(read(lambda f: put_above(f, A)))) for digit in ("16", " 8", " 1 or")
    )


def test_the_effect_of_a_checkpoint_in_another_series_is_computed(read: Callable[..., Published]) -> None:
    def deeper(files: Files) -> None:
        for name, size in ((A, 16), (B, 64), ("small-14b", 32)):
            statistics(files, name)["hidden_size"] = size
        put_series(files, "small-14b")

    finding = series.mixed_series(read(deeper))  # 512, 1,024 and 2,048 by size
    assert finding is not None
    assert "M falls from one size to the next at 0 steps with them and at 0 without" in finding.what
    finding = series.mixed_series(read(deeper, lambda f: site(f, "small-14b", "layer_1_hidden").update(max=4.0)))
    assert finding is not None
    assert "at 1 steps with them and at 0 without" in finding.what


def test_of_two_usual_numbers_of_tokens_neither_name_nor_run_decides(read: Callable[..., Published]) -> None:
    def without(files: Files) -> None:
        for name in (A, "small-14b"):
            for values in statistics(files, name)["per_layer_stats"].values():
                values.pop("sun_n_tokens", None)
        for model in (A, B, "small-14b"):
            statistics(files, model)["data_path"] = "/data/one.jsonl"
        statistics(files, B)["num_samples"] = 6

    finding = coverage.other_tokens(read(without))
    assert finding is not None
    assert [row["samples_of_others"] for row in of(finding)] == [5]
    tie = coverage.other_tokens(
        read(without, lambda f: statistics(f, "small-14b").update(data_path="/data/else.jsonl"))
    )
    assert tie is not None
    assert [(row["checkpoint"], row["samples_of_others"]) for row in of(tie)] == [(A, 6)]
