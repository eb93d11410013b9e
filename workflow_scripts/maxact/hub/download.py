"""Files of a pinned commit: resumed where a download broke off, and compared with the digest that the hub gave."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from tqdm import tqdm

from maxact.errors import UserError
from maxact.hub.client import ask, endpoint

if TYPE_CHECKING:
    from maxact.study.hub import FilePin

CHUNK = 1 << 20


def download(repository: str, commit: str, files: Mapping[str, FilePin], folder: Path) -> None:
    """Bring `files` of a commit of the hub into `folder`; those that are there whole are kept, a part of one is gone on with.

    Raises:
        UnavailableError: the hub cannot be reached.
        UserError: the hub refuses, the disk is full, or a file has another digest than its pin.
    """

    def address(name: str) -> str:
        return str(hf_hub_url(repository, name, revision=commit, endpoint=endpoint()))

    bring(f"{repository}@{commit}", files, folder, address, build_hf_headers(), ask)


def bring(
    what: str,
    files: Mapping[str, FilePin],
    folder: Path,
    address: Callable[[str], str],
    headers: Mapping[str, str],
    ask: Callable[[str, Callable[[], None]], None],
) -> None:
    """Bring pinned files into `folder`, as `download` does, from wherever `address` says.

    Args:
        what: named in errors and at the bar of progress.
        files: by their name or path, which is that in the folder too.
        address: of a file, by its name.
        headers: of each request.
        ask: makes a request again while it fails for now (`client.ask`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), _room(folder):
        missing = {name: pin for name, pin in files.items() if not (folder / name).exists()}
        _check_room(missing, folder)
        total = sum(pin.size for pin in missing.values())
        short = what.partition("@")[0]
        with tqdm(total=total, unit="B", unit_scale=True, desc=short, file=sys.stderr, mininterval=1) as bar:
            for name, pin in missing.items():
                part = folder / f"{name}.part"
                part.parent.mkdir(parents=True, exist_ok=True)
                ask(what, lambda name=name, part=part, pin=pin: _stream(address(name), headers, part, pin.size, bar))  # type: ignore[misc]
                found = digest(part, pin.digest.partition(":")[0])
                if found != pin.digest:
                    part.unlink()
                    raise UserError(
                        f"{what}: {name} has {found}, the lock file pins {pin.digest}; run again, and if it stays so "
                        "the hub or the lock file is wrong"
                    )
                part.rename(folder / name)


def beginning(repository: str, commit: str, name: str, size: int) -> bytes:
    """The first `size` bytes of a file of a commit; no more of it is read.

    Raises:
        UnavailableError: the hub cannot be reached.
        UserError: it refuses.
    """
    headers = build_hf_headers() | {"Range": f"bytes=0-{size - 1}", "Accept-Encoding": "identity"}
    url = hf_hub_url(repository, name, revision=commit, endpoint=endpoint())

    def request() -> bytes:
        found = b""
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
            if response.is_error:
                response.read()
                hf_raise_for_status(response)
            for chunk in response.iter_bytes():  # a hub may send all
                found += chunk
                if len(found) >= size:
                    break
        return found[:size]

    return ask(f"{repository}@{commit}", request)


def digest(file: Path, kind: str) -> str:
    """`sha256:...` of the bytes of a file, or `git:...`, the SHA-1 that git gives to a file of that content."""
    state = hashlib.sha256() if kind == "sha256" else hashlib.sha1(f"blob {file.stat().st_size}\0".encode())
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            state.update(chunk)
    return f"{kind}:{state.hexdigest()}"


def _stream(url: str, headers: Mapping[str, str], part: Path, size: int, bar: tqdm[Any]) -> None:
    """Append what `part` lacks of a file."""
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    have = part.stat().st_size if part.exists() else 0
    if have == size and part.exists():
        return
    # Without compression, whose ranges are other bytes.
    asked = {**headers, **({"Range": f"bytes={have}-"} if have else {}), "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=asked, follow_redirects=True) as response:
        if response.is_error:
            response.read()
            hf_raise_for_status(response)
        resumed = response.status_code == 206
        if have and not resumed:
            have = 0
        bar.update(have if resumed else 0)
        with part.open("ab" if resumed else "wb") as stream:
            for chunk in response.iter_bytes():  # as it comes: what a break would lose is small
                stream.write(chunk)
                bar.update(len(chunk))


def _check_room(files: Mapping[str, FilePin], folder: Path) -> None:
    parts = [folder / f"{name}.part" for name in files]
    have = sum(part.stat().st_size for part in parts if part.exists())
    wanted = sum(pin.size for pin in files.values()) - have
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise UserError(
            f"{folder}: {wanted / 1e9:,.1f} GB are to be downloaded and {free / 1e9:,.1f} GB are free; free space, or say "
            "`keep_weights: false` in the study"
        )


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{folder}: the disk is full; free space and run again, what is downloaded is kept") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock."""
    with (folder / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
