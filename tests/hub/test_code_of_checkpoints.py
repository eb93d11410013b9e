"""A checkpoint of the hub that brings code: pinned file by file, kept beside the weights, run by none but its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from layout.checkpoint import write_layout

from hub.server import Hub
from maxact.checkpoints.own_code import code_digest
from maxact.errors import UserError
from maxact.hub.pin import pin_of
from maxact.store.objects import Store
from maxact.store.run import run_job
from maxact.study import Hub as HubSource

NAME = "owner/ling-layout"


@pytest.fixture
def recipe(hub: Hub, tmp_path: Path) -> dict[str, Any]:
    """A study's opt-in without a digest: what the lock file pins."""
    folder = write_layout(tmp_path / "layout")
    hub.repository(NAME).commit({file.name: file.read_bytes() for file in folder.iterdir()})
    source = HubSource(kind="hub", repository=NAME)
    pinned = {**source.model_dump(), "pin": pin_of(source)}
    parameters = {"source": pinned, "model_type": "bailing_moe", "remote_code": {"sha256": None}}
    return {"parameters": parameters, "code": "c", "packages": {}}


def test_the_code_that_the_lock_file_pins_is_kept(recipe: dict[str, Any], tmp_path: Path) -> None:
    assert {"configuration_layout.py", "modeling_layout.py"} < set(recipe["parameters"]["source"]["pin"]["files"])
    made, _ = run_job("checkpoint", "ling", recipe, {}, Store(tmp_path / "artifacts"))
    assert {"configuration_layout.py", "modeling_layout.py"} < set(made.objects)
    assert made.summary["code"] == code_digest(tmp_path / "layout")


def test_code_that_has_changed_since_it_was_pinned_is_refused(recipe: dict[str, Any], hub: Hub, tmp_path: Path) -> None:
    hub.damaged = {"modeling_layout.py"}
    with pytest.raises(UserError, match=r"modeling_layout.py has .* the lock file pins"):
        run_job("checkpoint", "ling", recipe, {}, Store(tmp_path / "artifacts"))


def test_a_digest_of_the_study_is_compared_as_well(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["parameters"]["remote_code"] = {"sha256": "1" * 64}
    with pytest.raises(UserError, match="none of it was run"):
        run_job("checkpoint", "ling", recipe, {}, Store(tmp_path / "artifacts"))
