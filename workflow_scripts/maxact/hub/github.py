"""Files of a pinned commit of a public repository on GitHub, by plain HTTPS."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session, hf_raise_for_status

from maxact.errors import UnavailableError, UserError
from maxact.hub import client
from maxact.hub.download import bring, digest
from maxact.published.listing import is_result_path
from maxact.published.where import FOLDER_HINT
from maxact.study.hub import FilePin

if TYPE_CHECKING:
    from maxact.study.published import PublishedSource

ADDRESSES = {"MAXACT_GITHUB_RAW": "https://raw.githubusercontent.com", "MAXACT_GITHUB_API": "https://api.github.com"}
"""Where files are asked for, and what there is; the variable names another address, as of a mirror."""
HEADERS = {"User-Agent": "maxact"}
OTHERWISE = f"or {FOLDER_HINT}"

_Answer = TypeVar("_Answer")


def fetch_files(repository: str, commit: str, files: Mapping[str, FilePin], folder: Path) -> None:
    """Bring files of a commit into `folder`, each under its path in the repository (see `hub.download.bring`).

    Raises:
        UnavailableError: GitHub cannot be reached.
        UserError: it has no such file, the disk is full, or a file has another digest than its pin.
    """
    at = _address("MAXACT_GITHUB_RAW")
    bring(
        f"{repository}@{commit}",
        files,
        folder,
        lambda path: f"{at}/{repository}/{commit}/{path}",
        HEADERS,
        lambda what, request: _ask(what, request, at),
    )


def pin_results(source: PublishedSource) -> dict[str, Any]:
    """The pin of a repository's result files, as the lock file keeps it: size and SHA-256 of each, by its path.

    Raises:
        UserError: see `fetch_files`; or there are no result files at that commit.
    """
    at, what = _address("MAXACT_GITHUB_API"), f"{source.repository}@{source.commit}"

    def request() -> Any:
        response = get_session().get(
            f"{at}/repos/{source.repository}/git/trees/{source.commit}?recursive=1", headers=HEADERS
        )
        hf_raise_for_status(response)
        return response.json()

    below = f"{source.directory}/"
    files = {
        entry["path"]: FilePin(size=entry["size"], digest=f"git:{entry['sha']}")
        for entry in _ask(what, request, at)["tree"]
        if entry["path"].startswith(below) and is_result_path(entry["path"].removeprefix(below))
    }
    if not files:
        raise UserError(f"{what}: no result files in {source.directory}; mend the study's `published`")
    with tempfile.TemporaryDirectory() as folder:
        fetch_files(source.repository, source.commit, files, Path(folder))
        return {
            "files": {
                path.removeprefix(below): {"size": pin.size, "digest": digest(Path(folder, path), "sha256")}
                for path, pin in sorted(files.items())
            }
        }


def _address(variable: str) -> str:
    return os.environ.get(variable, ADDRESSES[variable]).rstrip("/")


def _ask(what: str, request: Callable[[], _Answer], at: str) -> _Answer:
    try:
        return client.ask(what, request, at, _refusal)
    except UnavailableError as error:
        raise UnavailableError(f"{error}; {OTHERWISE}") from None


def _refusal(what: str, error: HfHubHTTPError) -> UserError:
    response = error.response
    return UserError(
        f"{what}: {response.url} answers HTTP {response.status_code}; mend the study's `published`, {OTHERWISE}"
    )
