"""Ask another machine: again while it is busy, and its refusals in the words that a user needs."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from maxact.errors import UserError

TRIES = 3
"""Requests in all, before a place counts as out of reach; what lies under fsspec repeats each a few times as well."""
FIRST_WAIT = 1.0
"""Seconds before the second request; tripled before the third."""
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
MEND = "log in (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

Answer = TypeVar("Answer")


def patiently(url: str, request: Callable[[], Answer], tries: int = TRIES) -> Answer:
    """The answer to `request`, made again while the connection breaks or the other side is busy.

    Raises:
        FileNotFoundError, FileExistsError, PermissionError: as `request` does, or as the server's code says.
        UserError: no credentials, or out of reach.
    """
    wait = FIRST_WAIT
    for attempt in range(1, tries + 1):
        try:
            return request()
        except (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError):
            raise
        except Exception as error:
            if _is_ours(error):
                raise
            code = _code(error)
            if code in ("PreconditionFailed", "412"):
                raise FileExistsError(url) from None
            if code in EXPIRED:
                raise PermissionError(_words(error)) from None
            if _lacks_credentials(error):
                raise UserError(f"{url}: no credentials ({_words(error)}); {MEND}") from None
            reason = _words(error)
        if attempt < tries:
            print(f"{url}: {reason}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
            wait *= 3
    often = "1 try" if tries == 1 else f"{tries} tries"
    raise UserError(
        f"{url}: out of reach ({reason}, {often}); run again later, or unset MAXACT_REMOTE and MAXACT_MIRROR to go on alone"
    )


def refused(url: str, error: PermissionError) -> UserError:
    """The server's refusal in one line."""
    cause = error.__cause__
    if (_code(cause) if cause else None) == "RequestTimeTooSkewed":
        return UserError(f"{url}: the clock of this machine is wrong ({_words(error)}); set it")
    return UserError(
        f"{url}: access is refused ({_words(error)}); credentials may have expired: {MEND}; or the bucket is missing or not yours"
    )


def _code(error: BaseException) -> str | None:
    """What an S3 server calls the mistake; s3fs keeps it in the cause of its own exception."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code")) if isinstance(response, dict) else None


def _lacks_credentials(error: Exception) -> bool:
    """Whether botocore found no way to sign a request."""
    kind = type(error)
    return kind.__module__.startswith("botocore") and any(
        word in kind.__name__ for word in ("Credential", "Profile", "SSO", "Token", "Login")
    )


def _is_ours(error: Exception) -> bool:
    """Whether the reason lies on this side: a defect, or a disk that is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return isinstance(error, TypeError | AttributeError | KeyError | AssertionError | UserError)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
