"""A folder that a user names for files of theirs: it appears when all of them are whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxact.errors import UserError


def refuse_taken(folder: Path, option: str) -> None:
    """Refuse to write where something is.

    Args:
        option: with which the user named the folder.

    Raises:
        UserError: it is a file, or a folder that is not empty.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"{option} {folder}: is there already and is no empty folder; give another, or remove it")


@contextmanager
def new_folder(folder: Path, option: str) -> Iterator[Path]:
    """A scratch folder beside the one that is named, whose place it takes at the end.

    Raises:
        UserError: the folder is taken, or cannot be written.
    """
    refuse_taken(folder, option)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            yield scratch
            for file in scratch.iterdir():
                file.chmod(0o644)
            scratch.chmod(0o755)
            scratch.rename(folder)  # onto nothing, or onto an empty folder
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{option} {folder}: cannot be written ({error.strerror}); give another folder") from None
