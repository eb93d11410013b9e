"""What a checkpoint is told to be, also of architectures whose configuration lacks what most have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sites.architectures import configuration

from maxact.checkpoints.described import described
from maxact.errors import UserError


@pytest.mark.parametrize(("name", "context"), [("llama", 64), ("mamba", None), ("bloom", None)])
def test_an_architecture_without_a_limit_of_length_is_described(name: str, context: int | None, tmp_path: Path) -> None:
    configuration(name).save_pretrained(tmp_path)
    found = described("mine", tmp_path, {})
    assert (found["model_type"], found["layers"], found["hidden_size"], found["context"]) == (name, 4, 64, context)


def test_a_configuration_without_sizes_is_refused_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blt"}))
    with pytest.raises(
        UserError, match=r"^checkpoint mine: config\.json does not say num_hidden_layers, hidden_size; add it$"
    ):
        described("mine", tmp_path, {})
