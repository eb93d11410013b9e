"""The table that a run ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maxact.results.closing import closing_table, print_closing_table

HEADROOM = {"float16": 2.5, "e4m3": 0.017, "e5m2": 2.2}
REAL = {
    "checkpoint": "SmolLM2", "planted": False, "nonfinite": 0, "weights": "dequantized from GGUF Q4_1",
    "M": 26000.0, "where": "residual@11, channel 507, sample 3, position 0", "headroom": HEADROOM,
}  # fmt: skip
PLANTED = {**REAL, "checkpoint": "toy", "planted": True, "weights": "planted", "M": 12288.0}
BROKEN = {
    "checkpoint": "broken",
    "planted": False,
    "nonfinite": 9,
    "weights": "as released",
    "M": None,
    "why": "none finite",
}
ZERO = {**REAL, "M": 0.0, "headroom": dict.fromkeys(HEADROOM)}


def test_it_says_what_each_checkpoint_is_and_lines_up() -> None:
    head, real, planted, broken, zero = closing_table([REAL, PLANTED, BROKEN, ZERO]).splitlines()
    assert "SmolLM2 (dequantized from GGUF Q4_1)" in real
    assert "toy (planted)" in planted
    assert "broken (as released, has NaN or infinity)" in broken
    assert "none finite" in broken
    assert real.split()[-3:] == ["2.5x", "OVERFLOWS", "2.2x"]
    assert "OVERFLOWS" not in zero
    assert [real.index("26,000") + len("26,000"), planted.index("12,288") + len("12,288")] == [head.index("M ") + 1] * 2


def test_it_ends_with_the_instrument_check_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, corpus = tmp_path / "results.json", tmp_path / "corpus.json"
    print_closing_table(manifest, corpus)
    assert capsys.readouterr().out == ""
    manifest.write_text(
        json.dumps({"summary": {"checkpoints": [REAL], "instrument_check": "2 of 2", "absent": {"far": "no network"}}})
    )
    corpus.write_text(json.dumps({"summary": {"shortfall": {"chinese": 3}, "filled_from": "other"}}))
    print_closing_table(manifest, corpus)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "not available: far, which is optional (no network)",
        "instrument check: 2 of 2",
        "corpus: 3 samples of chinese could not be found; other fills them",
    ]
