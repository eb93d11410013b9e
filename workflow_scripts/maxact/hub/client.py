"""Requests to a hub: repeated while it is busy, and every refusal one line that says what to do.

huggingface_hub knows tokens, addresses and errors. Repeating is ours: the library gives up at the first HTTP 5xx of a
download, and its files do not survive the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from maxact.errors import UnavailableError, UserError

TRIES = 7
"""Requests in all, before a hub that is busy counts as not there."""
FIRST_WAIT = 1.0
"""Seconds before the second request; doubled before each further one."""
LONGEST_WAIT = 300.0
"""Seconds; more than a hub that says `Retry-After` may ask for."""
BUSY = (408, 429, 500, 502, 503, 504)

Answer = TypeVar("Answer")


def endpoint() -> str:
    """The hub's address."""
    return str(os.environ.get("HF_ENDPOINT", constants.ENDPOINT)).rstrip("/")


def ask(
    what: str,
    request: Callable[[], Answer],
    at: str | None = None,
    refusal: Callable[[str, HfHubHTTPError], UserError] | None = None,
) -> Answer:
    """The answer to `request`, made again with growing waits while the hub is busy or the connection breaks.

    Args:
        what: named in errors: a repository and its revision.
        at: the address that is asked, if it is not the hub.
        refusal: the error for an answer that is none; of the hub if it is not given.

    Raises:
        UnavailableError: the hub cannot be reached, or stays busy.
        UserError: it refuses: no such repository or revision, no access.
    """
    wait, at = FIRST_WAIT, at or endpoint()
    for attempt in range(1, TRIES + 1):
        try:
            return request()
        except OfflineModeIsEnabled:
            raise UnavailableError(
                f"{what}: HF_HUB_OFFLINE is set; unset it, or work where it was downloaded"
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in BUSY:
                raise (refusal or _refusal)(what, error) from None
            reason, asked = f"HTTP {status}", _retry_after(error)
        except HFValidationError as error:
            raise UserError(f"{what}: not a name that a hub can have ({' '.join(str(error).split())})") from None
        except json.JSONDecodeError:
            raise UserError(f"{what}: {at} does not answer as a hub does; mend HF_ENDPOINT") from None
        except httpx2.TransportError as error:
            reason, asked = type(error).__name__, None
        if attempt < TRIES:
            pause = min(max(wait, asked or 0.0), LONGEST_WAIT)
            print(f"{what}: {reason} from {at}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
            wait *= 2
    raise UnavailableError(
        f"{what}: {at} cannot be reached or is busy ({reason}, {TRIES} tries); run again later, what is downloaded "
        "is kept"
    )


def information(repository: str, revision: str, dataset: bool) -> Any:
    """What the hub says of a revision: `sha`, `siblings` with sizes and digests, `card_data`, `tags`.

    Raises:
        UserError: see `ask`.
    """
    api = HfApi(endpoint=endpoint())
    if dataset:
        return ask(f"{repository}@{revision}", lambda: api.dataset_info(repository, revision=revision))
    return ask(f"{repository}@{revision}", lambda: api.model_info(repository, revision=revision, files_metadata=True))


def licence_of(told: Any) -> str:
    """The licence that a repository's card or tags name, else "unknown"."""
    card = getattr(told, "card_data", None)
    named = [card.get("license_name"), card.get("license")] if card is not None else []
    named += [tag.removeprefix("license:") for tag in told.tags or [] if tag.startswith("license:")]
    return next((str(name) for name in named if name and name != "other"), "unknown")


def _retry_after(error: HfHubHTTPError) -> float | None:
    text = error.response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _refusal(what: str, error: HfHubHTTPError) -> UserError:
    repository = what.partition("@")[0]
    status = error.response.status_code
    page = f"{endpoint()}/{repository}"
    token = "put an access token of yours into HF_TOKEN, or say `hf auth login`"
    if isinstance(error, GatedRepoError) or (status in (401, 403) and not isinstance(error, RepositoryNotFoundError)):
        return UserError(f"{what}: access is refused (HTTP {status}); accept its licence at {page}, then {token}")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{what}: the repository has no such revision; see {page}, and mend `revision`")
    if isinstance(error, EntryNotFoundError):
        return UserError(
            f"{what}: the revision has no such file ({error.response.url.path}); pin it again with `maxact pin`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UserError(
            f"{what}: {endpoint()} has no such repository, or it is private; mend `repository`, or {token}"
        )
    return UserError(f"{what}: {endpoint()} refuses (HTTP {status}); see {page}")
