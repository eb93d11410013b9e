"""Where a job finds the authors' result files: in a folder that was given, or from their repository at a pinned commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.hub.github import fetch_files
from maxact.published.listing import file_digests
from maxact.published.where import noted_source
from maxact.store.job import Job
from maxact.store.objects import Store
from maxact.study.hub import FilePin


def results_folder(job: Job) -> Path:
    """The folder of the job's result files, which are those of its recipe.

    Raises:
        UnavailableError: the repository cannot be reached.
        UserError: the files cannot be had, or are others than when the workflow was read.
    """
    files: Mapping[str, str] = job.parameters["files"]
    source = noted_source(job.store.root, files)
    folder = Path(source["folder"]) if "folder" in source else _downloaded(source, files, job.store)
    if file_digests(folder) != files:
        raise UserError(f"{folder}: its files have changed since the workflow was read; run again")
    return folder


def _downloaded(source: Mapping[str, Any], files: Mapping[str, str], store: Store) -> Path:
    """The folder of the result files of a repository at its commit; what is there whole is kept.

    Raises:
        UnavailableError: the repository cannot be reached.
        UserError: it refuses, or a file has another digest than its pin.
    """
    repository, commit, below, sizes = (source[key] for key in ("repository", "commit", "directory", "sizes"))
    pins = {f"{below}/{path}": FilePin(size=sizes[path], digest=f"sha256:{digest}") for path, digest in files.items()}
    folder = store.root / "downloads" / f"github--{repository.replace('/', '--')}@{commit}"
    fetch_files(repository, commit, pins, folder)
    return folder / str(below)
