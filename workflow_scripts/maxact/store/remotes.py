"""Places beside the local store that hold artifacts: a folder, object storage through fsspec, a web server that is only read.

Each has the layout of the local store: `objects/ab/abcd....parquet`, `actions/<key>.json`. Nothing that lies there is
changed. `create` puts a whole file where none is: object storage is asked to refuse where one is (`If-None-Match: *`).
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from maxact.errors import UserError

TRIES = 3
"""Requests in all, before a place counts as out of reach; what lies under fsspec repeats each a few times as well."""
FIRST_WAIT = 1.0
"""Seconds before the second request; tripled before the third."""
WEB = ("http", "https")

Answer = TypeVar("Answer")


class Remote(Protocol):
    """One place. Paths are relative to it, with slashes."""

    @property
    def url(self) -> str:
        """As the user wrote it."""

    def fetch(self, path: str, file: Path) -> bool:
        """Write what lies at `path` into `file`; False, and no file, where nothing lies there."""

    def size(self, path: str) -> int | None:
        """Bytes of what lies at `path`; None where nothing does."""

    def create(self, path: str, file: Path) -> bool:
        """Put the bytes of `file` at `path`; False where something lies there already, if the place notices."""


def open_remote(url: str, read_only: bool) -> Remote:
    """The place at `url`. One that is only read is asked without credentials.

    Raises:
        UserError: it can only be read, no package here knows it, or it is none.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return Folder(url, Path(rest if separator else url))
    if scheme in WEB:
        if not read_only:
            raise UserError(f"MAXACT_REMOTE={url}: a web server is only read; name it in MAXACT_MIRROR")
        return Web(url)
    import fsspec

    options = {"anon": True} if read_only and scheme == "s3" else {}
    try:
        files = fsspec.filesystem(scheme, use_listings_cache=False, **options)
    except ImportError:
        mend = "say `make s3`" if scheme == "s3" else f"install the package of fsspec for {scheme}://"
        raise UserError(f"{url}: nothing here can read {scheme}://; {mend}") from None
    except ValueError:
        raise UserError(f"{url}: {scheme}:// is unknown; give s3://BUCKET/PREFIX, https://... or a folder") from None
    return ObjectStorage(url, files)


class Folder:
    """A folder, such as one that several machines mount."""

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self._root = root

    def fetch(self, path: str, file: Path) -> bool:
        try:
            shutil.copyfile(self._root / path, file)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserError(f"{self.url}: {path} cannot be read ({error.strerror}); mend permissions") from None
        return True

    def size(self, path: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.exists() else None

    def create(self, path: str, file: Path) -> bool:
        target = self._root / path
        try:
            if target.exists():
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as copy, file.open("rb") as source:
                    shutil.copyfileobj(source, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                os.chmod(temporary, 0o444)
                os.link(temporary, target)  # a rename would replace what another has put there meanwhile
            finally:
                os.unlink(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            raise UserError(
                f"{self.url}: cannot be written ({error.strerror}); free space or mend permissions"
            ) from None
        return True


class Web:
    """A web server with a copy of a store, read without credentials."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def fetch(self, path: str, file: Path) -> bool:
        return patiently(self.url, lambda: self._stream(path, file))

    def size(self, path: str) -> int | None:
        raise NotImplementedError("nothing is pushed to a web server")

    def create(self, path: str, file: Path) -> bool:
        raise NotImplementedError("nothing is pushed to a web server")

    def _stream(self, path: str, file: Path) -> bool:
        import httpx2

        # Without compression, so that the bytes are those that were stored.
        headers = {"Accept-Encoding": "identity"}
        with httpx2.stream("GET", f"{self.url}/{path}", headers=headers, follow_redirects=True, timeout=60) as answer:
            # Storage that may not be listed says 403 of what it has not.
            if answer.status_code in (403, 404, 410):
                return False
            answer.raise_for_status()
            with file.open("wb") as stream:
                for chunk in answer.iter_bytes():
                    stream.write(chunk)
        return True


class ObjectStorage:
    """What fsspec knows by the address: a bucket and a prefix."""

    def __init__(self, url: str, files: Any) -> None:
        self.url = url.rstrip("/")
        self._files = files
        self._root = str(files._strip_protocol(self.url))
        self._anonymous = bool(getattr(files, "anon", False))

    def fetch(self, path: str, file: Path) -> bool:
        try:
            patiently(self.url, lambda: self._files.get_file(f"{self._root}/{path}", str(file)))
        except FileNotFoundError:
            return False
        except PermissionError as error:
            if self._anonymous:  # who may not list is told this of what is not there
                return False
            raise _refused(self.url, error) from None
        return True

    def size(self, path: str) -> int | None:
        try:
            told = patiently(self.url, lambda: self._files.info(f"{self._root}/{path}"))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise _refused(self.url, error) from None
        return int(told["size"])

    def create(self, path: str, file: Path) -> bool:
        try:
            patiently(self.url, lambda: self._files.put_file(str(file), f"{self._root}/{path}", mode="create"))
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise UserError(f"{self.url}: no such bucket; make it, or mend MAXACT_REMOTE") from None
        except PermissionError as error:
            raise _refused(self.url, error) from None
        return True


def patiently(url: str, request: Callable[[], Answer]) -> Answer:
    """The answer to `request`, made again while the connection breaks or the other side is busy.

    Raises:
        FileNotFoundError, FileExistsError, PermissionError: as `request` does, or as the server's code says.
        UserError: no credentials, or out of reach.
    """
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
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
        if attempt < TRIES:
            print(f"{url}: {reason}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
            wait *= 3
    raise UserError(
        f"{url}: out of reach ({reason}, {TRIES} tries); run again later, or unset MAXACT_REMOTE and MAXACT_MIRROR to go on alone"
    )


EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
MEND = "log in (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def _refused(url: str, error: PermissionError) -> UserError:
    """The server's refusal in one line."""
    cause = error.__cause__
    if (_code(cause) if cause else None) == "RequestTimeTooSkewed":
        return UserError(f"{url}: the clock of this machine is wrong ({_words(error)}); set it")
    return UserError(f"{url}: access is refused ({_words(error)}); credentials may have expired: {MEND}")


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
