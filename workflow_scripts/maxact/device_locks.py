"""Locks on the GPUs of a machine: which file stands for a device, who has it, who is next."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maxact.errors import UserError

LOCKS = Path("/tmp", "maxact-gpu")
"""Not TMPDIR or XDG_RUNTIME_DIR, which differ between users. Mode 1777, its files are read only, as a lock needs no more."""


@dataclass(frozen=True)
class Device:
    """One GPU, or one part of a GPU (MIG).

    Attributes:
        name: what CUDA_VISIBLE_DEVICES calls it: a number, a UUID or a MIG name.
        lock: the name of its lock: its UUID where that is known, so that `0` and `GPU-5a56...` are one device.
    """

    name: str
    lock: str


def slurm_job() -> str | None:
    """Job and step that this process belongs to."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}.{os.environ.get('SLURM_STEP_ID', '')}" if job else None


def lock_folder() -> Path:
    """Where the locks lie: one folder, or within it one of this step of a job of SLURM.

    Raises:
        UserError: it cannot be made.
    """
    folder = Path(os.environ.get("MAXACT_GPU_LOCKS") or LOCKS)
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
        if job := slurm_job():
            folder /= job
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot hold locks ({error.strerror}); name another folder in MAXACT_GPU_LOCKS"
        ) from None
    finally:
        os.umask(before)
    return folder


def attempt(number: int, devices: Sequence[Device], folder: Path, kept: bool) -> list[tuple[Device, int]]:
    """The first `number` devices that are free, or none. One process tries at a time, so that two do not split a pair.

    Args:
        kept: whether others are kept from these devices for this process; else those that are kept for another are not taken.
    """
    held: list[tuple[Device, int]] = []
    with _turn(folder):
        for device in devices:
            file = _file(device, folder)
            if len(held) < number and (kept or _is_free(_next(file))):
                lock = _lock(file, fcntl.LOCK_NB)
                held += [] if lock is None else [(device, lock)]
        if len(held) < number:
            close(lock for _, lock in held)
            return []
    return held


def keep(devices: Sequence[Device], folder: Path) -> list[int]:
    """Keep others from taking any of these devices, as long as the descriptors are open; none where another does so already."""
    kept: list[int] = []
    with _turn(folder):
        for device in devices:
            lock = _lock(_next(_file(device, folder)), fcntl.LOCK_NB)
            if lock is None:
                close(kept)
                return []
            kept.append(lock)
    return kept


def _is_free(file: Path) -> bool:
    lock = _lock(file, fcntl.LOCK_NB)
    close([] if lock is None else [lock])
    return lock is not None


def close(locks: Iterable[int]) -> None:
    """Let go of locks."""
    for lock in locks:
        os.close(lock)


def _file(device: Device, folder: Path) -> Path:
    """The lock of whoever has the device."""
    return folder / re.sub(r"[^A-Za-z0-9._-]", "_", device.lock)


def _next(file: Path) -> Path:
    """The lock of whoever is to have the device next."""
    return file.with_name(f".next-{file.name}")


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    lock = _lock(folder / ".turn")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(file: Path, mode: int = 0) -> int | None:
    """Lock a file until its descriptor is closed; None if another holds it, or if it was removed meanwhile."""
    try:
        descriptor = _open(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | mode)
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None
    except OSError as error:
        raise UserError(
            f"{file}: cannot be locked ({error.strerror}); name another folder in MAXACT_GPU_LOCKS"
        ) from None


def _open(file: Path) -> int:
    """Open for reading, make it first where it is missing: Linux refuses O_CREAT on another user's file in such a folder."""
    while True:
        try:
            return os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            continue
        os.fchmod(descriptor, 0o644)
        return descriptor
