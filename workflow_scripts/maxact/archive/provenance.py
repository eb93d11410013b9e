"""What the manifests and action records of an archive are, and whether each comes from what the archive says that it does.

An action's key is the digest of its recipe and inputs (`store/run.py`), so that a record under another's key is found out.
Bytes that were forged together with their digest are not: who made the archive is for its SHA-256 to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from maxact.archive.record import NAME, Record
from maxact.errors import UserError
from maxact.store.exchange import reached
from maxact.store.keys import action_key
from maxact.store.objects import Manifest, Store


def manifests_of(scratch: Path, record: Record, file: Path) -> dict[str, Manifest]:
    """The manifests in the archive by path.

    Raises:
        UserError: a manifest or an action record is not what such a file is.
    """
    found = {}
    for path in record.files:
        parts = path.split("/")
        manifest = parts[0] == record.study and len(parts) == 3
        if not manifest and parts[0] != "actions":
            continue
        try:
            fields = json.loads((scratch / path).read_text(encoding="utf-8"))
            if manifest:
                found[path] = _sound(Manifest.from_fields(fields))
                if (found[path].stage, f"{found[path].name}.json") != (parts[1], parts[2]):
                    raise ValueError(path)
            else:
                _sound(Manifest.of_record(fields))
                inputs = fields["inputs"]
                if f"{fields['key']}.json" != parts[1] or not all(map(_is_text, [*inputs, *inputs.values()])):
                    raise ValueError(path)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{file}: {path} is not what such a file is; get the archive again") from None
    return found


def _sound(found: Manifest) -> Manifest:
    """A manifest, if its parts are such that they name nothing outside a store.

    Raises:
        ValueError, TypeError, AttributeError: they are not.
    """
    sound = all(re.fullmatch(NAME, name) for name in (found.stage, found.name))
    sound &= re.fullmatch(r"[0-9a-f]{64}", found.key) is not None
    sound &= isinstance(found.recipe, dict) and isinstance(found.summary, dict)
    for name, item in found.objects.items():
        path = PurePosixPath(name)
        sound &= name.isprintable() and bool(path.parts) and not path.is_absolute() and ".." not in path.parts
        sound &= re.fullmatch(r"[0-9a-f]{64}", item.sha256) is not None and type(item.size) is int
        sound &= re.fullmatch(r"(\.[A-Za-z0-9]+)?", item.suffix) is not None
    if not sound:
        raise ValueError(found)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def refuse_unfounded(scratch: Path, record: Record, manifests: Mapping[str, Manifest], file: Path) -> None:
    """Refuse what the study does not use, and records that do not follow from what they say that they were made from.

    Raises:
        UserError: an action that no manifest was made by or from, an object or a manifest that the study has not, a key that
            is not the digest of recipe and inputs, or a manifest with other objects than its action has made.
    """
    keys = reached((manifest.key for manifest in manifests.values()), Store(scratch))
    objects = {item.sha256 + item.suffix for manifest in manifests.values() for item in manifest.objects.values()}
    jobs = {f"{record.study}/{name}.json" for name in record.stamps}
    stamps = {f"{record.study}/keys/{name}.json" for name in record.stamps}
    for path in record.files:
        folder, name = path.split("/")[0], path.split("/")[-1]
        used = path in jobs or path in stamps or path.count("/") == 1
        used = name in objects if folder == "objects" else Path(name).stem in keys if folder == "actions" else used
        if not used:
            raise UserError(f"{file}: {path} is of no job of its study; it is not from `maxact export`")
    actions = {key: json.loads((scratch / "actions" / f"{key}.json").read_text(encoding="utf-8")) for key in keys}
    made = {key: _sound(Manifest.of_record(fields)) for key, fields in actions.items()}
    # A source that could not be had has a manifest, and no record.
    above = made | {manifest.key: manifest for manifest in manifests.values()}
    for key, fields in sorted(actions.items()):
        inputs = {source: above.get(other) for source, other in fields["inputs"].items()}
        if not _follows(made[key], inputs):
            raise UserError(
                f"{file}: actions/{key}.json: not the key that this checkout gives to its recipe and inputs; get the archive "
                f"again, or {record.remedy()}"
            )
    for path, manifest in manifests.items():
        if manifest.objects and manifest.key in made and manifest.objects != made[manifest.key].objects:
            raise UserError(f"{file}: {path}: has other objects than its action has made; get the archive again")


def _follows(made: Manifest, inputs: Mapping[str, Manifest | None]) -> bool:
    there = {source: manifest for source, manifest in inputs.items() if manifest is not None}
    try:
        return len(there) == len(inputs) and action_key(made.stage, made.name, made.recipe, there) == made.key
    except (KeyError, ValueError):  # a stage or figure that this checkout has not, or text that is no JSON
        return False
