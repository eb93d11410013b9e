"""Whose a study's folder is: two files with one `study:` would take turns in overwriting each other's stamps and reports.

The folder keeps the path of the file that it was last made from, of several those that each time were among them. Another file
of that name is refused while the first is there, has the same name and says something else; one that was moved, edited, copied as
it is, or put together with more or fewer others goes on. Commands that ask the store of a study warn of it.
"""

from __future__ import annotations

import sys
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
    if not files or _is_within(folder, files):
        return
    taken = taken_by(name, files, folder)
    if taken is not None:
        raise UserError(f"{taken}, and would overwrite each other in {folder}; {_mend(folder)}")
    record, now = folder / RECORD, _named(files, folder)
    common = [
        file for file in now if file in _before(folder)
    ] or now  # what parts are added to stays whose the folder is
    write_if_changed(record, "".join(f"{file}\n" for file in common))


def warn_of_name(name: str, file: Path, store: Path) -> None:
    """Tell who asks a store of a study that its name is another's there, whose measurements it would be told.

    Args:
        file: of the study.
        store: the folder of artifacts; it need not exist.
    """
    folder = store / name
    taken = None if _is_within(folder, [file]) else taken_by(name, [file], folder)
    if taken is not None:
        print(
            f"warning: {taken}: what is in {folder} is of the first, and a run is refused; {_mend(folder)}",
            file=sys.stderr,
        )


def taken_by(name: str, files: Sequence[Path], folder: Path) -> str | None:
    """Which other files `folder` is made from, and that they are another study of this name; None where they are not."""
    now, before = _named(files, folder), _before(folder)
    if not before or not (set(before) - set(now) and set(now) - set(before)):
        return None
    home = _home(folder)
    other = _read(home, before)
    if other is None or other.get("study") != name or other == _read(home, now):
        return None
    return f"{', '.join(before)} and {', '.join(now)} are two studies with one name, `study: {name}`"


def _home(folder: Path) -> Path:
    """The working folder of the runs that make `folder`, artifacts/<study> in it."""
    return folder.absolute().parents[1]


def _named(files: Sequence[Path], folder: Path) -> list[str]:
    """Their paths as the record has them, relative to the working folder of runs where they are below it."""
    home = _home(folder)
    return [str(path.relative_to(home) if path.is_relative_to(home) else path) for path in map(Path.absolute, files)]


def _before(folder: Path) -> list[str]:
    """The files that `folder` was last made from; none where it is new."""
    record = folder / RECORD
    return record.read_text(encoding="utf-8").splitlines() if record.exists() else []


def _is_within(folder: Path, files: Sequence[Path]) -> bool:
    return folder.absolute() in (path.absolute().parent for path in files)


def _mend(folder: Path) -> str:
    return f"give one another name (or delete {folder / RECORD}, if {_before(folder)[-1]} is of no more use)"


def _read(home: Path, files: Sequence[str]) -> dict[str, Any] | None:
    """What files say together; None where one is gone or is no mapping."""
    found: dict[str, Any] = {}
    for file in files:
        try:
            read = yaml.safe_load((home / file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return None
        if not isinstance(read, dict):
            return None
        update_config(found, read)  # as Snakemake puts them together
    return found
