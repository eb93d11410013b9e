"""One run at a time in a study's folder, and no run while garbage is collected, or where none can be.

Snakemake's own lock outlives a killed run and must then be removed by hand; a lock that the kernel holds does not.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from maxact.errors import UserError
from maxact.store.disk import writing
from maxact.store.locks import hold, of_one_machine

_TAKEN_APART = re.compile(r"[\s\"'`$&|;<>()\\*?\[\]#!{}]")

_HELD: list[IO[str]] = []


def refuse_unquotable(paths: Iterable[str | Path]) -> None:
    """Refuse a checkout or a Python in a folder whose name a shell would take apart: Snakemake quotes neither.

    Raises:
        UserError: names the path.
    """
    for path in map(str, paths):
        if _TAKEN_APART.search(path):
            raise UserError(
                f"{path}: has a blank or a sign in its name that a shell reads, with which Snakemake can run nothing; "
                "move the checkout to a folder without"
            )


def hold_workspace(folder: Path, to_read: bool = False) -> None:
    """Hold the folder of one study, and share the store that it is in, until this process ends, however it ends.

    Args:
        to_read: whether others may read the study meanwhile; a run may not start.

    Raises:
        UserError: another run or command holds the study, or garbage is being collected in the store.
    """
    _lock(folder.parent / ".lock", fcntl.LOCK_SH, f"{folder.parent}: garbage is being collected")
    mode = fcntl.LOCK_SH if to_read else fcntl.LOCK_EX
    stream = _lock(folder / ".lock", mode, f"{folder}: another run or command is at work on this study")
    with writing(folder / ".lock"):
        stream.truncate(0)
        stream.write(f"{os.getpid()} on {platform.node()}")
        stream.flush()
        os.fsync(stream.fileno())  # else a client of NFS keeps it to itself until the file is closed
    option = of_one_machine(folder)
    if option is not None:
        print(
            f"warning: {folder}: its network file system is mounted with `{option}`, so other machines see no locks: "
            "who computes what is settled by files in claims/, and nobody may collect garbage while another machine is at work",
            file=sys.stderr,
        )


def hold_store(root: Path) -> None:
    """Hold a whole store until this process ends: no run of any study is at work in it, and none starts.

    Raises:
        UserError: a run is at work.
    """
    _lock(root / ".lock", fcntl.LOCK_EX, f"{root}: a run is at work in this store")


def _lock(file: Path, mode: int, refusal: str) -> IO[str]:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+")
    try:
        hold(stream, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip()
        stream.close()
        raise UserError(f"{refusal}{f' (process {holder})' if holder else ''}; wait for it or stop it") from None
    _HELD.append(stream)  # closing it would let go of the lock
    return stream
