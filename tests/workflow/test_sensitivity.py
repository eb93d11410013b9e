"""`snakemake sensitivity`: variants of a measurement, each with one setting changed, beside the study's own."""

from __future__ import annotations

import pandas as pd
import pytest
from workflow.harness import Workspace

from maxact.store.objects import Manifest

NAME = "SmolLM2-135M-Instruct"
VARY = {
    "special_tokens": ["none", "bos", "chat"],
    "dtype": ["bfloat16", "float32"],
    "batch_tokens": [64],
    "length": [9],
}
NAMES = ["study", "special_tokens-bos", "special_tokens-chat", "dtype-float32", "batch_tokens-64", "length-9"]


def test_every_variant_is_measured_once_and_told_beside_the_studys_own(workspace: Workspace) -> None:
    workspace.study["sensitivity"] = {"checkpoints": [NAME], "samples": 5, "vary": VARY}
    run = workspace.snakemake("sensitivity")
    assert run.computed == sorted(["sensitivity/sensitivity", *(f"variant/{NAME}.{variant}" for variant in NAMES)])
    frame = pd.read_csv(workspace.folder / "reports/small/sensitivity/sensitivity.csv", keep_default_na=False)
    assert frame.setting.tolist() == ["the study's own", "bos", "chat", "float32", "64", "9"]
    rows = frame.set_index("setting")
    assert rows.change["the study's own"] == 0
    assert (frame.M.astype(float) > 1000).all()
    assert rows.tokens["bos"] == rows.tokens["the study's own"] + 5
    assert rows.tokens["chat"] > rows.tokens["bos"]
    assert rows.tokens["9"] == 45
    passes = {
        line["name"]: line["costs"]["forward_passes"] for line in workspace.journal() if line["stage"] == "variant"
    }
    assert passes[f"{NAME}.study"] == 5
    assert passes[f"{NAME}.batch_tokens-64"] < 5

    # The study's own settings on the same samples: what the study itself has measured of them.
    own = Manifest.read(workspace.folder / f"artifacts/small/variant/{NAME}.study.json").summary["M"]
    whole = Manifest.read(workspace.folder / f"artifacts/small/measure/{NAME}.json").summary["M"]
    assert own["value"] <= whole["value"]
    assert workspace.snakemake("sensitivity").started == []
    assert workspace.snakemake().started == []  # the study itself does not know of it

    workspace.study["sensitivity"]["vary"]["length"] = [9, 12]
    assert workspace.snakemake("sensitivity").computed == ["sensitivity/sensitivity", f"variant/{NAME}.length-12"]


@pytest.mark.slow
def test_a_tokenizer_without_a_template_leaves_that_variant_out_and_says_so(workspace: Workspace) -> None:
    workspace.study["sensitivity"] = {"checkpoints": [NAME], "samples": 2, "vary": {"special_tokens": ["chat"]}}
    code = workspace.folder / "workflow_scripts/maxact/checkpoints/gguf.py"
    text = code.read_text(encoding="utf-8")
    code.write_text(text.replace("    tokenizer.save", "    tokenizer.chat_template = None\n    tokenizer.save"))
    workspace.snakemake("sensitivity")
    frame = pd.read_csv(workspace.folder / "reports/small/sensitivity/sensitivity.csv", keep_default_na=False)
    assert frame.M[1] == ""
    assert "the tokenizer has no chat template" in frame.note[1]


def test_a_study_without_the_section_is_told_so_in_one_line(workspace: Workspace) -> None:
    workspace.study.pop("sensitivity", None)
    run = workspace.snakemake("sensitivity", check=False)
    assert run.returncode != 0
    assert "study.yaml: has no section sensitivity; add one like that of studies/pocket.yaml" in run.output
    assert "Traceback" not in run.output
