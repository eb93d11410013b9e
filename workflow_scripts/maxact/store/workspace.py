"""One run at a time in a study's working folder.

Snakemake's own lock outlives a killed run and must then be removed by hand; a lock that the kernel holds does not.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from maxact.errors import UserError

_HELD: list[IO[str]] = []


def hold_workspace(folder: Path) -> None:
    """Hold the folder of one study until this process ends, however it ends.

    Raises:
        UserError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / ".lock").open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        raise UserError(
            f"{folder}: another run of this study is at work (process {stream.read().strip()}); wait for it or stop it"
        ) from None
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    _HELD.append(stream)  # closing it would let go of the lock
