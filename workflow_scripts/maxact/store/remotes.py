"""Places beside the local store that hold artifacts: a folder, object storage through fsspec, a web server that is only read.

Each has the layout of the local store: `objects/ab/abcd....parquet`, `actions/<key>.json`. Nothing that lies there is
changed. `create` puts a whole file where none is: object storage is asked to refuse where one is (`If-None-Match: *`).
"""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from maxact.errors import UserError
from maxact.store.asking import patiently, refused
from maxact.store.disk import missing

WEB = ("http", "https")
STALE_TRIES = 5


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

    def put(self, path: str, data: bytes) -> None:
        """Put `data` at `path`, in place of what lies there."""

    def delete(self, path: str) -> None:
        """Have nothing at `path`."""


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
        _refuse_further_arguments(fsspec.get_filesystem_class(scheme))
        files = fsspec.filesystem(scheme, use_listings_cache=False, **options)
    except ImportError:
        mend = "say `make s3`" if scheme == "s3" else f"install the package of fsspec for {scheme}://"
        raise UserError(f"{url}: nothing here can read {scheme}://; {mend}") from None
    except (ValueError, TypeError, AttributeError, OSError):  # what they say who want more than a path, or another one
        raise UserError(f"{url}: {scheme}:// is unknown; give s3://BUCKET/PREFIX, https://... or a folder") from None
    return ObjectStorage(url, files)


def _refuse_further_arguments(kind: type) -> None:
    """Some take more than a path, as ftp:// does; half of one that was made without complains once more when it goes.

    Raises:
        TypeError: this one does.
    """
    _, *arguments = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    if any(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in arguments):
        raise TypeError(kind.__name__)


class Folder:
    """A folder, such as one that several machines mount."""

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self._root = root

    def fetch(self, path: str, file: Path) -> bool:
        try:
            if missing(self._root / path):
                return False
            _copy(self._root / path, file)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unreadable(path, error) from None
        return True

    def size(self, path: str) -> int | None:
        try:
            return None if missing(self._root / path) else (self._root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(path, error) from None

    def create(self, path: str, file: Path) -> bool:
        target = self._root / path
        try:
            # Without a look at what is there: who may not write is told so, as object storage does.
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as copy, file.open("rb") as source:
                    shutil.copyfileobj(source, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                os.chmod(temporary, 0o444)
                return _linked(temporary, target)
            finally:
                os.unlink(temporary)
        except OSError as error:
            raise self._unwritable(error) from None

    def put(self, path: str, data: bytes) -> None:
        target = self._root / path
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as copy:
                    copy.write(data)
                os.chmod(temporary, 0o444)
                os.replace(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise self._unwritable(error) from None

    def delete(self, path: str) -> None:
        try:
            (self._root / path).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unreadable(self, path: str, error: OSError) -> UserError:
        return UserError(f"{self.url}: {path} cannot be read ({error.strerror}); mend permissions")

    def _unwritable(self, error: OSError) -> UserError:
        only_read = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        mend = (
            "mend permissions, or name it in MAXACT_MIRROR to read alone"
            if only_read
            else "free space or mend permissions"
        )
        return UserError(f"{self.url}: cannot be written ({error.strerror}); {mend}")


def _linked(file: str, target: Path) -> bool:
    """Give a file its name, unless there is one of that name: a rename would replace what another has put there meanwhile."""
    try:
        os.link(file, target)
        return True
    except FileExistsError:
        return False


def _copy(source: Path, file: Path) -> None:
    """Copy a file, again where NFS 3 says that another machine has replaced it since it was opened."""
    for _ in range(STALE_TRIES - 1):
        try:
            shutil.copyfile(source, file)
            return
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    shutil.copyfile(source, file)


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

    def put(self, path: str, data: bytes) -> None:
        raise NotImplementedError("nothing is pushed to a web server")

    def delete(self, path: str) -> None:
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
            raise refused(self.url, error) from None
        return True

    def size(self, path: str) -> int | None:
        try:
            told = patiently(self.url, lambda: self._files.info(f"{self._root}/{path}"))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise refused(self.url, error) from None
        return int(told["size"])

    def create(self, path: str, file: Path) -> bool:
        try:
            patiently(self.url, lambda: self._files.put_file(str(file), f"{self._root}/{path}", mode="create"))
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise self._no_bucket() from None
        except PermissionError as error:
            raise refused(self.url, error) from None
        return True

    def put(self, path: str, data: bytes) -> None:
        try:
            patiently(self.url, lambda: self._files.pipe_file(f"{self._root}/{path}", data), tries=1)
        except FileNotFoundError:
            raise self._no_bucket() from None
        except PermissionError as error:
            raise refused(self.url, error) from None

    def delete(self, path: str) -> None:
        try:
            patiently(self.url, lambda: self._files.rm_file(f"{self._root}/{path}"), tries=1)
        except FileNotFoundError:
            pass
        except PermissionError as error:
            raise refused(self.url, error) from None

    def _no_bucket(self) -> UserError:
        return UserError(f"{self.url}: no such bucket; make it, or mend MAXACT_REMOTE")
