"""A checkpoint of the hub in the store: what the store has is not downloaded again, and nothing damaged is taken for it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from hub.server import Hub
from maxact.checkpoints import stage
from maxact.checkpoints.folder import folder_digest
from maxact.checkpoints.sources import hub as source_of_hub
from maxact.errors import UserError
from maxact.hub.pin import pin_of
from maxact.store.job import Job
from maxact.store.objects import Store
from maxact.study import Hub as HubSource


def safetensors(size: int) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


WEIGHTS = safetensors(5000)


@pytest.fixture
def source(hub: Hub) -> dict[str, Any]:
    hub.repository("owner/m").commit({"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS})
    asked = HubSource(kind="hub", repository="owner/m")
    return asked.model_dump() | {"pin": pin_of(asked)}


def taken(store: Store, source: dict[str, Any], folder: Path) -> bytes:
    """What ends up in the store when the checkpoint is taken."""
    folder.mkdir()
    job = Job("checkpoint", "m", {"model_type": "llama", "source": source}, {}, {}, store, folder)
    found, _ = source_of_hub.take(job, source)
    item = store.put(found / "model.safetensors")
    return store.path(item).read_bytes()


def test_a_damaged_object_is_downloaded_again(hub: Hub, source: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert taken(store, source, tmp_path / "first") == WEIGHTS
    assert taken(store, source, tmp_path / "second") == WEIGHTS  # from the store, by a link
    (kept,) = store.root.glob("objects/*/*")
    kept.chmod(0o644)
    kept.write_bytes(WEIGHTS[:-1] + b"!")
    assert taken(store, source, tmp_path / "third") == WEIGHTS
    assert len(list(store.root.glob("objects/*/*"))) == 1
    assert kept.read_bytes() == WEIGHTS


def test_a_store_that_was_moved_is_read_where_it_is(hub: Hub, source: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    taken(store, source, tmp_path / "first")
    taken(store, source, tmp_path / "second")
    hub.requests.clear()
    moved = Store((tmp_path / "store").rename(tmp_path / "moved"))
    assert taken(moved, source, tmp_path / "third") == WEIGHTS
    assert not any("/resolve/" in path for path, _ in hub.requests if path.endswith(".safetensors"))


@pytest.mark.parametrize("config", [{"model_type": "foo"}, {"model_type": "llama", "hidden_size": "abc"}])
def test_a_configuration_that_transformers_refuses_is_one_line(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "folder" / "model.safetensors").write_bytes(WEIGHTS)
    source = {"kind": "folder", "path": str(tmp_path / "folder"), "sha256": folder_digest(tmp_path / "folder")}
    asked = {"source": source, "model_type": config["model_type"]}
    with pytest.raises(UserError, match=r"transformers cannot read config\.json"):
        stage.compute(Job("checkpoint", "m", asked, {}, {}, Store(tmp_path / "store"), tmp_path))
