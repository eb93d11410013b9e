"""Writing to a disk that may be full, read-only, or a network file system."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        # Of a copy the first file is the one that is read.
        file = getattr(error, "filename2", None) or getattr(error, "filename", None) or where
        raise UserError(f"{file}: cannot be written ({os.strerror(number)}); {_mend(number)}") from None


def _mend(number: int | None) -> str:
    """What to do about a disk that is full or may not be written."""
    if number in FULL:
        return "free space (`maxact gc` shows what no study needs), then run again: what is finished is kept"
    return "mend permissions or the mount, then run again"


def write_atomically(path: Path, text: str, durably: bool = True) -> None:
    """Write `text` beside `path` and rename it into place, so that no reader sees half of it.

    Args:
        durably: wait until it is on the disk, so that it outlives a machine that loses power.

    Raises:
        UserError: the disk is full, or may not be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                if durably:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            move(Path(temporary), path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if durably:
            sync_folder(path.parent)


def write_if_changed(path: Path, text: str) -> None:
    """Write `text` unless `path` has it already: the time of a file then tells when its content changed.

    What is written so can be made again from what it was made from, and is not waited for.
    """
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text, durably=False)


def move(source: Path, target: Path) -> None:
    """Rename a file into place. A request of NFS that was repeated may say that the source is gone, as it has moved already."""
    size = source.stat().st_size
    try:
        os.replace(source, target)
    except FileNotFoundError:
        if not target.exists() or target.stat().st_size != size:
            raise


def missing(path: Path) -> bool:
    """Whether there is no such file, by what the server of a network file system says now.

    A client of NFS may remember for half a minute that a name was not there; opening the folder makes it ask.
    """
    if path.exists():
        return False
    ask_server(path.parent)
    return not path.exists()


def ask_server(folder: Path) -> None:
    """Have a client of NFS ask its server what is in a folder, whatever it remembers; one that may not be listed is left."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


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
