"""A folder of this machine, pinned by the digest of what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import checkpoint_files, copy, folder_digest
from maxact.errors import UserError
from maxact.store.job import Job


def take(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Copies of the folder's files that count."""
    folder = Path(source["path"])
    found = folder_digest(folder)
    if found != source["sha256"]:
        raise UserError(
            f"{folder}: SHA-256 is {found}, the study pins {source['sha256']}; mend the study or the folder"
        )
    # Code that it brings is kept only where the study opts in to it.
    copy([*checkpoint_files(folder), *folder.glob("*.py")], job.scratch / "checkpoint")
    told = {"planted": False, "ancestry": "as released", "licence": "unknown", "source": folder.name}
    return job.scratch / "checkpoint", told
