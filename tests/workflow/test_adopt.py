"""Rewritten measuring code is accepted for stored measurements on the evidence of their probes, and on no less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workflow.harness import PROBED, Workspace

from maxact.store.objects import Manifest, Store

STATE = "workflow_scripts/maxact/measure/state.py"
NAMES = ("SmolLM2-135M-Instruct", "planted-qwen2", "planted-qwen3-moe")


def test_code_that_measures_the_same_bytes_is_accepted_and_recorded(
    workspace: Workspace, edit: Callable[[str, str, str], None]
) -> None:
    edit(STATE, "from __future__ import annotations\n", "from __future__ import annotations\n\nUNUSED = 1\n")
    assert workspace.maxact("adopt", "study.yaml").splitlines() == [f"{name}: adopted" for name in NAMES]
    probed = [line for line in workspace.journal() if line["stage"] == "probe"]
    assert [line["costs"]["forward_passes"] for line in probed] == [PROBED] * len(NAMES)
    run = workspace.snakemake()
    # Other stages with a pass of their own share that code: they give the same objects, and nothing below is computed.
    assert {line.partition("/")[0] for line in run.computed} == {"evaluate", "paper_check", "perplexity"}
    assert {"measure"} <= set(run.started)
    shown = workspace.maxact("show", "artifacts/small/measure/planted-qwen2.json")
    assert "adopted    from action" in shown
    assert "current    yes" in shown
    assert workspace.maxact("adopt", "study.yaml").splitlines() == [f"{name}: current" for name in NAMES]


def test_code_that_measures_other_bytes_is_not_accepted(
    workspace: Workspace, edit: Callable[[str, str, str], None]
) -> None:
    before = workspace.actions()
    edit("workflow_scripts/maxact/measurement.py", "TOP = 100", "TOP = 99")
    told = workspace.maxact("adopt", "study.yaml")
    assert told.splitlines() == [f"{name}: differs on the probe; it is measured again" for name in NAMES]
    new = workspace.actions() - before
    assert len([line for line in workspace.journal() if line["key"] in new and line["stage"] == "measure"]) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda study: study["measure"].update(threads=2), "not only the code has changed, but parameters"),
        (lambda study: study.update(study="another"), None),
    ],
)
def test_what_has_changed_in_more_than_code_is_not_accepted(
    change: Callable[[dict[str, object]], None], told: str | None, workspace: Workspace
) -> None:
    change(workspace.study)
    if told is None:
        with pytest.raises(AssertionError, match="holds nothing of the study 'another'"):
            workspace.maxact("adopt", "study.yaml")
    else:
        assert all(told in line for line in workspace.maxact("adopt", "study.yaml").splitlines())


def test_weights_that_are_not_kept_are_gone_again_after_the_probe(
    workspace: Workspace, edit: Callable[[str, str, str], None]
) -> None:
    workspace.study["keep_weights"] = False
    store = Store(workspace.folder / "artifacts")
    weights = list(store.root.glob("objects/*/*.safetensors"))
    planted = store.root / "small" / "checkpoint" / "planted-qwen2.json"
    store.drop(Manifest.read(planted).objects["model.safetensors"])
    kept = [file for file in weights if file.exists()]
    assert len(kept) == len(weights) - 1
    edit(STATE, "from __future__ import annotations\n", "from __future__ import annotations\n\nUNUSED = 1\n")
    assert workspace.maxact("adopt", "study.yaml").splitlines() == [f"{name}: adopted" for name in NAMES]
    assert [line["stage"] for line in workspace.journal()].count("probe") == len(NAMES)
    assert sorted(store.root.glob("objects/*/*.safetensors")) == sorted(kept)
