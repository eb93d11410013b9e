"""Locks that the kernel frees when their holder ends, however it ends; on a network file system the server does.

`flock` is used. Linux turns it on NFS into a lock of the whole file at the server, which other machines respect, unless the file
system is mounted with `nolock` or `local_lock`. A shared lock there needs a file that is open for reading, an exclusive one a
file that is open for writing, so open with "a+". See docs/decisions/shared-stores.md.
"""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import IO

from maxact.errors import UserError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that has no locks, or whose server does not answer for them."""

LOCAL = {"nfs": ("nolock", "local_lock=flock", "local_lock=all"), "lustre": ("localflock",)}
"""Mount options by which a network file system has locks for one machine only."""


def hold(stream: IO[str], mode: int) -> None:
    """`fcntl.flock`, which is let go of when `stream` is closed.

    Raises:
        BlockingIOError: another holds it, and `mode` has LOCK_NB.
        UserError: the file system has no locks.
    """
    try:
        fcntl.flock(stream, mode)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise UserError(
                f"{stream.name}: its file system has no locks ({error.strerror}); mount it with NFS 4, with lockd and statd "
                "running (NFS 3) or with `flock` (Lustre), or keep artifacts/ on another one"
            ) from None
        raise


def of_one_machine(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The mount option by which locks in `folder` are not seen by other machines that mount its network file system, or None.

    Args:
        mounts: the kernel's list; where there is none, nothing is known.
    """
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    best, found = -1, None
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4].replace("\\040", " "))
        kind, _, options = source.split(" ", 2)
        # The last mount of the longest path is what one sees.
        if folder.resolve().is_relative_to(point) and len(point.parts) >= best:
            local = next((of_it for name, of_it in LOCAL.items() if kind.startswith(name)), ())
            best, found = len(point.parts), next((option for option in options.split(",") if option in local), None)
    return found
