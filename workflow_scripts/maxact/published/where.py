"""Where the result files of a study are, noted in the store when the workflow is read, for the jobs that open them.

It decides nothing, so no recipe has it: a recipe has the digests of the files, and a note is found by these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.disk import write_if_changed
from maxact.store.objects import canonical, digest_text

FOLDER_HINT = "name a folder that has them: --config published_results=FOLDER, or MAXACT_PUBLISHED"


def note_source(store: Path, files: Mapping[str, str], source: Mapping[str, Any]) -> None:
    """Note that the files of these digests are in `source`: a `folder`, or a repository at a commit (`published/source.py`)."""
    write_if_changed(_note(store, files), canonical(source) + "\n")


def noted_source(store: Path, files: Mapping[str, str]) -> dict[str, Any]:
    """What was noted of the files of these digests.

    Raises:
        UserError: nothing was.
    """
    try:
        found: dict[str, Any] = json.loads(_note(store, files).read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        raise UserError(f"the result files that this study was made of are not here; {FOLDER_HINT}") from None


def _note(store: Path, files: Mapping[str, str]) -> Path:
    return store / "sources" / f"{digest_text(canonical(files))}.json"
