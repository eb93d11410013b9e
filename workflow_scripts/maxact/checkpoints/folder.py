"""A checkpoint as a folder: which of its files count, whether they are whole, and the digest that pins them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.objects import canonical, digest_file, digest_text

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
CHAT_TEMPLATE = "chat_template.jinja"
"""Where a checkpoint's chat template is a file of its own."""
TOKENIZER_TEXTS = (*TOKENIZER_FILES, CHAT_TEMPLATE)
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pickle", "*.pkl")
MAXIMUM_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, in order of name, each checked to be whole.

    Raises:
        UserError: there is none (a pickle is refused), or one is truncated or unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder; give one with config.json and safetensors")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise UserError(
                f"{folder / pickles[0]}: pickled weights can run code when loaded and are refused; convert them to safetensors"
            )
        raise UserError(f"{folder}: no *.safetensors file; give a folder with config.json and safetensors")
    for file in files:
        check_safetensors(file)
    _check_index(folder, files)
    return files


def unreadable(file: Path, error: OSError) -> UserError:
    """What to say where it is the system that does not give a file, and not the file that is damaged."""
    return UserError(f"{file}: cannot be read ({error.strerror}); make it readable, then run again")


def check_safetensors(file: Path) -> None:
    """Whether the file is as long as its header says.

    Raises:
        UserError: it is truncated, too long, or its header cannot be read.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MAXIMUM_HEADER, size - 8):
                raise ValueError
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise UserError(f"{file}: not readable as safetensors (truncated or damaged header); fetch it again") from None
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise UserError(f"{file}: {size} bytes, but its header says {expected} (truncated or damaged); fetch it again")


def _check_index(folder: Path, files: list[Path]) -> None:
    index = folder / INDEX
    if index.exists():
        named = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise UserError(f"{index}: names {missing[0]}, which is not there; fetch it again")


def checkpoint_files(folder: Path) -> list[Path]:
    """All files of a checkpoint folder that count: configuration, weights, their index, tokenizer.

    Raises:
        UserError: configuration or weights are missing or damaged.
    """
    weights = weight_files(folder)
    read_config(folder)
    others = [folder / name for name in ("config.json", INDEX, *TOKENIZER_TEXTS)]
    return sorted([*weights, *(file for file in others if file.exists())])


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and digests of the files that count.

    Raises:
        UserError: the folder is no checkpoint.
    """
    return digest_text(canonical({file.name: digest_file(file) for file in checkpoint_files(folder)}))


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json.

    Raises:
        UserError: it is missing, not JSON, or has no model_type.
    """
    file = folder / "config.json"
    if not file.exists():
        raise UserError(f"{folder}: no config.json; give a checkpoint folder in the format of transformers")
    config = read_json(file)
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"{file}: has no model_type; give a checkpoint folder in the format of transformers")
    return config


def check_model_type(folder: Path, name: str, expected: str) -> None:
    """Compare what config.json says with what the checkpoint's family declares.

    Raises:
        UserError: they differ, or there is no such configuration.
    """
    found = read_config(folder)["model_type"]
    if found != expected:
        raise UserError(
            f"checkpoint {name}: model_type is {found!r}, its family declares {expected!r}; mend the family"
        )


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: it is not one.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(file, error) from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: not a JSON object (truncated or damaged?); fetch it again")
    return found


def copy(files: list[Path], folder: Path) -> None:
    """Copies of `files` in `folder`. Not links: what the store keeps becomes read-only, and the user's files are theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
