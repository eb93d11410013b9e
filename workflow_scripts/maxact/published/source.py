"""Where a job finds the authors' result files: in a folder that is given, or from their repository at a pinned commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from maxact.errors import UserError
from maxact.hub.github import fetch_files
from maxact.published.files import file_digests
from maxact.store.job import Job
from maxact.study.hub import FilePin


def results_folder(job: Job) -> Path:
    """The folder of the job's result files, which are those of its recipe.

    Raises:
        UnavailableError: the repository cannot be reached.
        UserError: the files cannot be had, or are others than when the workflow was read.
    """
    folder = Path(job.parameters["results"]) if "results" in job.parameters else downloaded(job)
    if file_digests(folder) != job.parameters["files"]:
        raise UserError(f"{folder}: its files have changed since the workflow was read; run again")
    return folder


def downloaded(job: Job) -> Path:
    """The folder of the result files, of the job's repository at its commit; what is there whole is kept.

    Raises:
        UnavailableError: the repository cannot be reached.
        UserError: it refuses, or a file has another digest than its pin.
    """
    repository, commit, below = (job.parameters[key] for key in ("repository", "commit", "directory"))
    digests: Mapping[str, str] = job.parameters["files"]
    sizes: Mapping[str, int] = job.parameters["sizes"]
    pins = {f"{below}/{path}": FilePin(size=sizes[path], digest=f"sha256:{digest}") for path, digest in digests.items()}
    folder = job.store.root / "downloads" / f"github--{repository.replace('/', '--')}@{commit}"
    fetch_files(repository, commit, pins, folder)
    return folder / str(below)
