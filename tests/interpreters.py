"""Other versions of Python on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def interpreter_of(version: str) -> str | None:
    """A Python of that version: on PATH, or among those that pyenv has."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))]
    works = [
        path for path in found if path and not subprocess.run([path, "-V"], capture_output=True, check=False).returncode
    ]
    return works[0] if works else None
