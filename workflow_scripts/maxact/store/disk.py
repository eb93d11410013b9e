"""Writing to a disk that may be full, read-only, or a network file system."""

from __future__ import annotations

import errno
import os
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
        raise UserError(f"{path}: cannot be written ({error.strerror}); {mend(error)}") from None


def mend(error: OSError) -> str:
    """What to do about a disk that is full or may not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
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
