"""Files of a pinned commit of a public repository on GitHub, by plain HTTPS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError

from maxact.errors import UnavailableError, UserError
from maxact.hub import client
from maxact.hub.download import bring

if TYPE_CHECKING:
    from maxact.study.hub import FilePin

ADDRESS = "https://raw.githubusercontent.com"
OTHERWISE = "name a folder that has them: --config published_results=FOLDER, or MAXACT_PUBLISHED"


def raw_address() -> str:
    """Where files are asked for: MAXACT_GITHUB_RAW, as for a mirror, or GitHub."""
    return os.environ.get("MAXACT_GITHUB_RAW", ADDRESS).rstrip("/")


def fetch_files(repository: str, commit: str, files: Mapping[str, FilePin], folder: Path) -> None:
    """Bring files of a commit into `folder`, each under its path in the repository (see `hub.download.bring`).

    Raises:
        UnavailableError: GitHub cannot be reached.
        UserError: it has no such file, the disk is full, or a file has another digest than its pin.
    """
    at = raw_address()
    try:
        bring(
            f"{repository}@{commit}",
            files,
            folder,
            lambda path: f"{at}/{repository}/{commit}/{path}",
            {"User-Agent": "maxact"},
            lambda what, request: client.ask(what, request, at, _refusal),
        )
    except UnavailableError as error:
        raise UnavailableError(f"{error}; or {OTHERWISE}") from None


def _refusal(what: str, error: HfHubHTTPError) -> UserError:
    response = error.response
    return UserError(
        f"{what}: {response.url} answers HTTP {response.status_code}; mend the study's `published`, or {OTHERWISE}"
    )
