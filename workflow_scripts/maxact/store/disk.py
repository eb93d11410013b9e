"""Writing to a disk that may be full, read-only, or a network file system."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxact.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell a user of a disk that is full or may not be written.

    Raises:
        UserError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); {_mend(error.errno)}") from None


FULL = (errno.ENOSPC, errno.EDQUOT)
OF_RUST = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers tell an error of the disk: in the text of an exception of their own."""


@contextmanager
def telling(where: Path) -> Iterator[None]:
    """Tell a user of a disk that is full or read-only, whichever library has met it; leave other exceptions as they are.

    Args:
        where: what to name where the exception has no file.

    Raises:
        UserError: in place of the exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = OF_RUST.search(str(error))
        number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
        if number not in (*FULL, errno.EROFS):
            raise
        file = getattr(error, "filename", None) or where
        raise UserError(f"{file}: cannot be written ({os.strerror(number)}); {_mend(number)}") from None


def _mend(number: int | None) -> str:
    """What to do about a disk that is full or may not be written."""
    if number in FULL:
        return "free space (`maxact gc` shows what no study needs), then run again: what is finished is kept"
    return "mend permissions or the mount, then run again"


def move(source: Path, target: Path) -> None:
    """Rename a file into place. A request of NFS that was repeated may say that the source is gone, as it has moved already."""
    size = source.stat().st_size
    try:
        os.replace(source, target)
    except FileNotFoundError:
        if not target.exists() or target.stat().st_size != size:
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; a server of NFS has them there before it answers."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:  # not every file system has it for folders
        pass
    finally:
        os.close(descriptor)


def renewed(path: Path) -> bool:
    """Make a file that is kept as young as one made now, which garbage spares; False where it belongs to another user."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
