"""Whose a study's folder is: two files with one `study:` would take turns in overwriting each other's stamps and reports.

The folder keeps the path of the file that it was last made from, of several those that each time were among them. Another file
of that name is refused while the first is there, has the same name and says something else; one that was moved, edited, copied as
it is, or put together with more or fewer others goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from maxact.errors import UserError
from maxact.store.disk import write_if_changed

RECORD = "study.path"


def claim_name(name: str, files: Sequence[Path], folder: Path) -> None:
    """Note that `folder` is made from these files, the last of which may overwrite parts of those before it.

    Args:
        name: what the study is called.
        files: its configuration, relative to the working folder or not.
        folder: of the study's manifests, stamps and logs. A file in it is none of another study: `study.yaml` is what was
            read of the files, and one that came with an archive is of what was imported.

    Raises:
        UserError: it is made from other files, which still say something else under this name.
    """
    if not files or folder.absolute() in (path.absolute().parent for path in files):
        return
    record = folder / RECORD
    here = Path.cwd()
    now = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in map(Path.absolute, files)]
    before = record.read_text(encoding="utf-8").splitlines() if record.exists() else now
    if set(before) - set(now) and set(now) - set(before):
        other = _read(before)
        if other is not None and other.get("study") == name and other != _read(now):
            raise UserError(
                f"{', '.join(before)} and {', '.join(now)} are two studies with one name, `study: {name}`, and would "
                f"overwrite each other in {folder}; give one another name (or delete {record}, if {before[-1]} is of no more use)"
            )
    common = [file for file in now if file in before] or now  # what parts are added to stays whose the folder is
    write_if_changed(record, "".join(f"{file}\n" for file in common))


def _read(files: Sequence[str]) -> dict[str, Any] | None:
    """What files say together; None where one is gone or is no mapping."""
    found: dict[str, Any] = {}
    for file in files:
        try:
            read = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return None
        if not isinstance(read, dict):
            return None
        update_config(found, read)  # as Snakemake puts them together
    return found
