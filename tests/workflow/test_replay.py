"""A stored maximum is found again by running its sample alone, with its text beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from workflow.harness import Workspace

from maxact.store.objects import Manifest, Store


def test_the_sample_of_M_gives_the_same_bits_again_and_names_its_text(workspace: Workspace) -> None:
    planted = workspace.study["checkpoints"][1]
    told = json.loads(workspace.maxact("replay", "study.yaml", planted["name"], "--json"))
    marker = workspace.study["families"][planted["family"]]["marker"]
    peak = planted["source"]["peak"]
    assert (told["site"], told["channel"]) == (f"{peak['component']}@{peak['layer']}", peak["channel"])
    assert told["stored"] == told["now"] == peak["value"]
    assert (told["witness"]["sample"], told["witness"]["position"]) == (marker["sample"], marker["position"])
    assert told["same"] == told["sites"] > 10
    assert told["planted"]
    passes = [line["costs"]["forward_passes"] for line in workspace.journal() if line["stage"] == "replay"]
    assert passes == [1]
    # Asked again it runs again: a replay that is looked up would show nothing.
    workspace.maxact("replay", "study.yaml", planted["name"])
    assert len([line for line in workspace.journal() if line["stage"] == "replay"]) == 2
    assert workspace.snakemake().started == []


def test_any_site_can_be_asked_for_and_its_text_is_that_of_the_corpus(workspace: Workspace) -> None:
    told = workspace.maxact("replay", "study.yaml", "SmolLM2-135M-Instruct", "--site", "residual@3").splitlines()
    assert told[0].startswith("SmolLM2-135M-Instruct: ")
    assert " at residual@3, channel " in told[0]
    number = int(told[1].removeprefix("sample ").partition(",")[0])
    store = Store(workspace.folder / "artifacts")
    corpus = Manifest.read(workspace.folder / "artifacts/small/corpus/corpus.json")
    row = pq.read_table(store.path(corpus.objects["samples.parquet"])).to_pylist()[number]
    assert row["id"] in told[1]
    before, token, after = told[2].removeprefix("text: ").replace("]", "[").split("[")[:3]
    assert (before + token + after).strip("\u2026 ")[:20] in " ".join(row["text"].split("\n")).replace("\t", " ")
    assert re.search(r"; the same bits at (\d+) of \1 sites$", told[3])


def test_other_bits_are_told_with_by_how_much_and_why(
    workspace: Workspace, edit: Callable[[str, str, str], None]
) -> None:
    edit(
        "workflow_scripts/maxact/measure/watch.py",
        "x_RC = x.detach().reshape(rows, channels)\n",
        "x_RC = x.detach().reshape(rows, channels) * 2\n",
    )
    told = workspace.maxact("replay", "study.yaml", "planted-qwen2", returncode=1)
    assert "run again alone: 24,576; the same bits at 0 of " in told
    assert "an extreme of the sample differs by up to 1 of its value" in told
    assert "note: the measuring code has changed since" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["planted-qwen9"], "planted-qwen9: not a checkpoint of the study 'small'; did you mean 'planted-qwen2'?"),
        (["planted-qwen2", "--site", "residual@99"], "--site residual@99: not measured; give COMPONENT@LAYER or"),
        (
            ["planted-qwen2", "--site", "router_logits@0"],
            "--site router_logits@0: not applicable to this architecture (",
        ),
    ],
)
def test_what_cannot_be_replayed_is_one_line(arguments: list[str], told: str, workspace: Workspace) -> None:
    printed = workspace.maxact("replay", "study.yaml", *arguments, returncode=2)
    assert printed.startswith(f"error: {told}")
    assert printed.count("\n") == 1
