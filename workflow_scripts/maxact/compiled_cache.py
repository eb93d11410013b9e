"""Where numba keeps what it has compiled, where it finds no place of its own.

It writes beside the code or into the user's cache, and refuses to compile where it can write neither: an image that is read-only,
run by a user without a home.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def give_numba_a_place(code: Path = Path(__file__).parent) -> None:
    """Before numba is imported: name a folder that goes with this process, unless there is a better one.

    Args:
        code: the folder of the code that is compiled.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Of a user without a home ~ stays, and numba would make a folder of that name where the process is.
    if _VARIABLE in os.environ or _takes(code) or (not cache.startswith("~") and _takes(Path(cache))):
        return
    os.environ[_VARIABLE] = folder = tempfile.mkdtemp(prefix="maxact-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _takes(folder: Path) -> bool:
    """Whether files can be made in a folder, or in what must be made first."""
    # Not Path.exists, which fails where a folder above may not be looked into.
    there = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
