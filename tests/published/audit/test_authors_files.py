"""The faults of the authors' own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxact.published.audit import audit, readings
from maxact.published.audit.finding import Finding
from maxact.published.files import read_tree
from published.audit.faults import of


@pytest.fixture(scope="module")
def real(authors_results: Path) -> dict[str, Finding]:
    published = read_tree(authors_results)
    return {finding.name: finding for finding in (*audit(published), *readings(published))}


def test_the_known_faults_of_the_authors_files_are_found(real: dict[str, Finding]) -> None:
    coarse = real["coarse_thresholds"].rows
    assert coarse["bin"].between(0, 2).all()
    assert (coarse.quantile_from <= coarse.own_quantile).all()
    assert (coarse.own_quantile < coarse.quantile_below).all()
    assert {row["times"] for row in of(real["counted_twice"], site="embedding_output")} == {2}
    assert all(row["checkpoint"].startswith("Ling") for row in of(real["counted_twice"]))
    held = {(row["holds"], row["max"]) for row in of(real["router_outputs"], field="moe_gate")}
    assert ("indices of experts", 255.0) in held
    assert any(holds == "probabilities" and 0.99 < high <= 1 for holds, high in held)
    assert [row["model_type"] for row in of(real["mixed_series"], checkpoint="gemma-2b")] == ["gemma"]
    assert len(of(real["mixed_series"])) == 1
    assert of(real["ties"], checkpoint="gpt-oss-20b")[0]["components"] == "mlp_output, hidden"
    step = of(real["emergence_by_sign"], checkpoint="gpt-oss-20b")[0]
    assert (round(step["step_of_abs"]), step["layer_of_abs"]) == (120, 6)
    assert (round(step["step_of_max"], 1), step["layer_of_max"]) == (7.5, 23)
    assert {"consecutive_lines", "any_script"} <= real.keys()


def test_further_faults_of_the_authors_files_are_found(real: dict[str, Finding]) -> None:
    assert {row["site"].split("_")[1] for row in of(real["layers_beyond"])} == {"20"}
    assert len({row["checkpoint"] for row in of(real["padding_counted"])}) == 7
    larger = [row for row in of(real["above_whole"]) if row["M"] > row["M_of_all"]]
    assert {row["checkpoint"] for row in larger} == {"Qwen3-32B"}
    assert len(of(real["beyond_calibration"])) == 8
    assert [row["checkpoint"] for row in of(real["other_components"])] == ["Qwen3.5-0.8B"]
    assert [row["checkpoint"] for row in of(real["sign_tied"])] == ["Qwen3.5-0.8B"]
    assert {row["checkpoint"] for row in of(real["text_alone"])} == {f"Qwen2.5-VL-{size}B" for size in (3, 7, 32)}
    assert max(row["range_by_mean"] for row in of(real["range_for_deviation"])) == pytest.approx(0.101, abs=5e-4)
    assert [row["checkpoint"] for row in of(real["elsewhere"])] == ["Qwen3.5-0.8B"]
    assert {row["checkpoint"][:7] for row in of(real["common_massive"])} == {"gemma-2", "gemma-3"}
    assert not {"copies", "other_tokens", "gates_above"} & real.keys()
    assert "reached in 10 of 40 subsets and exceeded in 2" in real["rarely_reached"].what
    assert "by |x| 18 checkpoints" in real["emergence_by_sign"].what
    assert "by |x| 23 of these checkpoints" in real["emergence_by_sign"].what
    nothing_left = of(real["saturated"], policy="max_abs")
    assert {row["measure"] for row in nothing_left} == {"rel_mae"}
    assert all(row["half_step_by_size"] > 70 for row in nothing_left)
    assert len(nothing_left) == 4
    assert len(of(real["saturated"], measure="rel_rmse")) == 5
    assert {row["limit"] for row in of(real["shorter_limit"])} == {4096}
