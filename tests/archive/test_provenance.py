"""An archive's records are those of its study, and follow from what they say that they were made from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxact.archive.provenance import manifests_of, refuse_unfounded
from maxact.archive.record import Record
from maxact.errors import UserError
from maxact.store.keys import action_key
from maxact.store.objects import Manifest, StoredObject

FILE = Path("a.zip")


def job(stage: str, name: str, inputs: dict[str, Manifest]) -> tuple[Manifest, dict[str, Any]]:
    """A manifest and its action record, with the key that they should have."""
    recipe = {"parameters": {"of": name}}
    key = action_key(stage, name, recipe, inputs)
    # "f" in the digest of what has the key "f...": any other would do.
    made = Manifest(stage, name, key, recipe, {"a.parquet": StoredObject(key, 3, ".parquet")}, {"rows": 1})
    fields = json.loads(made.to_json())
    return made, {**fields, "inputs": {source: above.key for source, above in inputs.items()}}


class Archive:
    """What was unpacked: corpus -> tokens, and tokens again from a tokenizer that could not be had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus, self.corpus_action = job("corpus", "corpus", {})
        self.absent = Manifest("tokenizer", "gone", "e" * 64, {}, {}, {"unavailable": "no network"})
        self.tokens, self.tokens_action = job("tokens", "qwen", {"corpus": self.corpus, "tokenizer": self.absent})
        self.files: dict[str, Any] = {}
        for manifest in (self.corpus, self.tokens, self.absent):
            self.files[f"small/{manifest.stage}/{manifest.name}.json"] = json.loads(manifest.to_json())
        for action in (self.corpus_action, self.tokens_action):
            self.files[f"actions/{action['key']}.json"] = action
        self.files[f"objects/{self.tokens.key[:2]}/{self.tokens.key}.parquet"] = "bytes"
        self.stamps = [f"{manifest.stage}/{manifest.name}" for manifest in (self.corpus, self.tokens, self.absent)]
        for name in self.stamps:
            self.files[f"small/keys/{name}.json"] = {}
        self.files["small/imported-study.yaml"] = ""

    def read(self) -> None:
        for path, fields in self.files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(json.dumps(fields), encoding="utf-8")
        record = Record(
            study="small",
            study_file="study.yaml",
            commit=None,
            clean=False,
            version="1",
            figures=(),
            tables=("int8",),
            measurements=False,
            stamps=dict.fromkeys(self.stamps, ""),
            files=dict.fromkeys(self.files, ("", 0)),
        )
        refuse_unfounded(self.folder, record, manifests_of(self.folder, record, FILE), FILE)

    def action(self, manifest: Manifest) -> dict[str, Any]:
        found: dict[str, Any] = self.files[f"actions/{manifest.key}.json"]
        return found


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_what_follows_is_accepted(archive: Archive) -> None:
    archive.read()


def extra_action(archive: Archive) -> None:
    """Sound in itself, but no manifest was made by it or from it."""
    _, action = job("corpus", "other", {})
    archive.files[f"actions/{action['key']}.json"] = action


def extra_object(archive: Archive) -> None:
    archive.files[f"objects/00/{'0' * 64}.csv"] = "bytes"


def extra_manifest(archive: Archive) -> None:
    manifest, _ = job("corpus", "other", {})
    archive.files["small/corpus/other.json"] = json.loads(manifest.to_json())


def extra_stamp(archive: Archive) -> None:
    archive.files["small/keys/corpus/other.json"] = {}


@pytest.mark.parametrize("change", [extra_action, extra_object, extra_manifest, extra_stamp])
def test_what_the_study_does_not_use_is_refused(archive: Archive, change: Callable[[Archive], None]) -> None:
    before = set(archive.files)
    change(archive)
    (added,) = set(archive.files) - before
    with pytest.raises(UserError, match=f"a.zip: {added} is of no job of its study; it is not from `maxact export`"):
        archive.read()


def other_recipe(archive: Archive) -> None:
    archive.action(archive.tokens)["recipe"]["parameters"]["of"] = "other"


def no_inputs(archive: Archive) -> None:
    archive.action(archive.tokens)["inputs"] = {}


def lost_input(archive: Archive) -> None:
    del archive.files[f"actions/{archive.corpus.key}.json"], archive.files["small/corpus/corpus.json"]
    del archive.files["small/keys/corpus/corpus.json"]
    archive.stamps.remove("corpus/corpus")


def other_stage(archive: Archive) -> None:
    archive.action(archive.tokens)["stage"] = "no_such"


@pytest.mark.parametrize("change", [other_recipe, no_inputs, lost_input, other_stage])
def test_a_key_that_does_not_follow_is_refused(archive: Archive, change: Callable[[Archive], None]) -> None:
    change(archive)
    expected = (
        f"a.zip: actions/{archive.tokens.key}.json: not the key that this checkout gives to its recipe and inputs"
    )
    with pytest.raises(UserError, match=expected):
        archive.read()


def test_other_objects_than_the_action_has_made_are_refused(archive: Archive) -> None:
    archive.files["small/tokens/qwen.json"]["objects"]["a.parquet"]["sha256"] = "c" * 64
    del archive.files[f"objects/{archive.tokens.key[:2]}/{archive.tokens.key}.parquet"]
    with pytest.raises(UserError, match=r"small/tokens/qwen\.json: has other objects than its action has made"):
        archive.read()


@pytest.mark.parametrize("place", ["small/tokens/qwen.json", "actions"])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("objects", {"../../outside": {"sha256": "a" * 64, "size": 1, "suffix": ".csv"}}),
        ("objects", {"/outside": {"sha256": "a" * 64, "size": 1, "suffix": ".csv"}}),
        ("objects", {"": {"sha256": "a" * 64, "size": 1, "suffix": ".csv"}}),
        ("objects", {"a": {"sha256": "a" * 64, "size": 1, "suffix": "/../../../outside"}}),
        ("objects", {"a": {"sha256": "../a", "size": 1, "suffix": ".csv"}}),
        ("objects", {"a": {"sha256": "a" * 64, "size": "1", "suffix": ".csv"}}),
        ("objects", []),
        ("recipe", []),
        ("summary", None),
        ("stage", 5),
        ("name", "../a"),
        ("key", "a"),
    ],
)
def test_a_part_that_cannot_be_is_refused(archive: Archive, place: str, part: str, value: object) -> None:
    path = place if place != "actions" else f"actions/{archive.tokens.key}.json"
    archive.files[path][part] = value
    with pytest.raises(UserError, match="is not what such a file is; get the archive again"):
        archive.read()
    assert {field.name for field in dataclasses.fields(Manifest)} <= set(archive.files[path])


@pytest.mark.parametrize("inputs", [5, [], {"corpus": 5}, None])
def test_inputs_that_are_no_keys_are_refused(archive: Archive, inputs: object) -> None:
    archive.action(archive.tokens)["inputs"] = inputs
    with pytest.raises(UserError, match="is not what such a file is; get the archive again"):
        archive.read()
