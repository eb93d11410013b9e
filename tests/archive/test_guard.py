"""Which of a run's inputs count where a study came out of an archive."""

from __future__ import annotations

from pathlib import Path

from maxact.archive.guard import _wanted
from maxact.store.disk import write_atomically
from maxact.store.objects import Manifest


def test_key_stamps_are_no_manifests(tmp_path: Path) -> None:
    """A shard reads two: its own, and that of the measurement that it is a part of."""
    path, above = tmp_path / "study" / "shard" / "a.1of2.json", tmp_path / "study" / "tokens" / "qwen.json"
    stamps = {"key": tmp_path / "study/keys/shard/a.1of2.json", "whole": tmp_path / "study/keys/measure/a.json"}
    for stamp in stamps.values():
        write_atomically(stamp, "{}\n")
    tokens = Manifest("tokens", "qwen", "0" * 64, {}, {}, {})
    write_atomically(above, tokens.to_json())
    wanted = _wanted(path, {**stamps, "tokens": above, "loading_check": []}, [path])
    assert wanted.inputs == {"tokens/qwen": tokens}
