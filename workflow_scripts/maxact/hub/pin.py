"""Pinning: what a revision is today, resolved once and kept in the lock file beside the study."""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxact.checkpoints.folder import INDEX, MAXIMUM_HEADER, PICKLES, TOKENIZER_FILES, TOKENIZER_TEXTS, read_json
from maxact.errors import UserError
from maxact.hub.client import information, licence_of
from maxact.hub.download import beginning, download
from maxact.hub.github import pin_results
from maxact.needs.shapes import elements, shape_of
from maxact.store.disk import write_atomically
from maxact.study.hub import FILE_NAME, FilePin, Hub, HubFiles, HubTokenizer
from maxact.study.pins import lock_file, pin_name, read_lock

if TYPE_CHECKING:
    from maxact.study import PublishedStudy, Study


def pin_study(study: Study, file: Path, again: bool) -> Path:
    """Write the lock file of the study in `file`: a pin for everything that it takes from a hub; returns its path.

    Pins that are there stay, so that what was measured stays what it was; pins of what the study does not name any more go.
    The file is written when all are known, so that an interruption leaves the old one.

    Args:
        again: resolve every revision anew.

    Raises:
        UserError: the hub refuses or cannot be reached; a repository has no safetensors.
    """
    target = lock_file(file)
    before = read_lock(target)
    pins: dict[str, dict[str, Any]] = {"models": {}, "datasets": {}}
    # Checkpoints first: what one needs of a repository has what a tokenizer needs of it.
    for key, source in sorted(study.from_hub(), key=lambda named: isinstance(named[1], HubTokenizer)):
        kind = "datasets" if isinstance(source, HubFiles) else "models"
        name = pin_name(source.repository, source.revision)
        if name in pins[kind]:
            continue
        if name in before[kind] and not again and _serves(before[kind][name], source):
            pins[kind][name] = before[kind][name]
        else:
            pins[kind][name] = pin_of(source)
            print(f"{key}: {name} is {pins[kind][name]['commit']}", file=sys.stderr)
        if isinstance(source, Hub) and "shape" not in pins[kind][name]:
            pins[kind][name]["shape"] = _shape(source.repository, pins[kind][name])
            if pins[kind][name]["shape"] is None:
                print(f"{key}: its size is not told, so `maxact plan` cannot say what it needs", file=sys.stderr)
    text = json.dumps({kind: dict(sorted(found.items())) for kind, found in pins.items()}, indent=2, ensure_ascii=False)
    write_atomically(target, text + "\n")
    return target


def pin_published(study: PublishedStudy, file: Path, again: bool) -> Path:
    """The same for a study of published results, whose repository's files are read once to know their SHA-256.

    Raises:
        UserError: GitHub refuses or cannot be reached; there are no result files at the commit.
    """
    target, source = lock_file(file), study.published
    name = pin_name(source.repository, source.commit)
    before = read_lock(target)["published"]
    pin = before[name] if name in before and not again else pin_results(source)
    write_atomically(target, json.dumps({"published": {name: pin}}, indent=2, ensure_ascii=False) + "\n")
    return target


def _serves(pin: dict[str, Any], source: Hub | HubFiles | HubTokenizer) -> bool:
    """Whether a pin is enough for a source: that of a tokenizer alone has no weights."""
    return not isinstance(source, Hub) or "config.json" in pin["files"]


def pin_of(source: Hub | HubFiles | HubTokenizer) -> dict[str, Any]:
    """The pin of one source, as the lock file keeps it.

    Raises:
        UserError: see `pin_study`.
    """
    told = information(source.repository, source.revision, dataset=isinstance(source, HubFiles))
    pin: dict[str, Any] = {"commit": told.sha, "licence": licence_of(told)}
    if isinstance(source, HubFiles):
        return pin
    listed = {entry.rfilename: _file_pin(entry) for entry in told.siblings or []}
    where = f"{source.repository}@{source.revision}"
    if isinstance(source, HubTokenizer):
        if TOKENIZER_FILES[0] not in listed:
            raise UserError(f"{where}: has no {TOKENIZER_FILES[0]}; name another repository")
        return pin | {"files": _dumped({name: listed[name] for name in TOKENIZER_TEXTS if name in listed})}
    odd = [
        name
        for name in listed
        if name.endswith((".py", ".safetensors")) and "/" not in name and not re.fullmatch(FILE_NAME, name)
    ]
    if odd:
        raise UserError(
            f"{where}: has a file {odd[0]!r}, a name that cannot be pinned; name another revision or repository"
        )
    if "config.json" not in listed:
        raise UserError(f"{where}: has no config.json; name a repository in the format of transformers")
    weights = _weights(source, told.sha, listed, where)
    others = [name for name in ("config.json", *TOKENIZER_TEXTS) if name in listed]
    # Code that it brings: pinned like the rest, kept and run only where the study opts in to it.
    others += [name for name in listed if name.endswith(".py") and "/" not in name]
    return pin | {"files": _dumped({name: listed[name] for name in sorted([*weights, *others])})}


def _weights(source: Hub, commit: str, listed: dict[str, FilePin], where: str) -> list[str]:
    """The weights at the top of the repository: those of the index where there is one, as some have a second copy."""
    files = [name for name in listed if name.endswith(".safetensors") and "/" not in name]
    if INDEX in listed:
        with tempfile.TemporaryDirectory() as scratch:
            download(source.repository, commit, {INDEX: listed[INDEX]}, Path(scratch))
            named = sorted(set(read_json(Path(scratch) / INDEX).get("weight_map", {}).values()))
        missing = [name for name in named if name not in listed or "/" in name]
        if missing or not named:
            raise UserError(f"{where}: its {INDEX} names {missing[0] if missing else 'nothing'}, which is not there")
        return [INDEX, *named]
    if files:
        return files
    pickles = sorted(name for name in listed if any(Path(name).match(pattern) for pattern in PICKLES))
    if pickles:
        raise UserError(
            f"{where}: has pickled weights only ({pickles[0]}), which can run code when loaded and are refused; name a "
            "revision or repository with safetensors"
        )
    raise UserError(f"{where}: has no *.safetensors file; name a repository with weights in safetensors")


def _shape(repository: str, pin: dict[str, Any]) -> dict[str, int] | None:
    """From config.json and the headers of the weights, which are all that is read; None where they do not tell."""
    commit, files = pin["commit"], {name: FilePin(**file) for name, file in pin["files"].items()}
    with tempfile.TemporaryDirectory() as scratch:
        download(repository, commit, {"config.json": files["config.json"]}, Path(scratch))
        config = read_json(Path(scratch) / "config.json")
    try:
        parameters = 0
        for name in files:
            if name.endswith(".safetensors"):
                (length,) = struct.unpack("<Q", beginning(repository, commit, name, 8))
                if length > MAXIMUM_HEADER:
                    return None
                parameters += elements(json.loads(beginning(repository, commit, name, 8 + length)[8:]))
        shape = shape_of(config, parameters)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    return None if shape is None else shape.model_dump()


def _file_pin(entry: Any) -> FilePin:
    digest = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git:{entry.blob_id}"
    return FilePin(size=entry.size, digest=digest)


def _dumped(files: dict[str, FilePin]) -> dict[str, Any]:
    return {name: pin.model_dump() for name, pin in files.items()}
