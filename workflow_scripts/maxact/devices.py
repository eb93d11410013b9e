"""The GPUs of this machine, each lent to one job at a time by a lock that the kernel releases.

Snakemake counts how many devices its jobs hold (`--resources gpu=4`), but not which, and knows nothing of another run on
the same machine. So a process that computes on a GPU takes its devices here, before torch starts CUDA: it locks one file
for each and names them in CUDA_VISIBLE_DEVICES, so that to torch they are all there is. The kernel drops the locks when
the process ends, however it ends.

The files lie in one folder for all studies and users of the machine, `LOCKS`. Containers that share devices share the locks
if one folder is mounted into each and named in MAXACT_GPU_LOCKS. SLURM gives each job its devices: only processes of one job
share locks, as those of a local run in an interactive allocation do, and only the devices that it was given are lent among them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maxact.errors import UserError

LOCKS = Path("/tmp", "maxact-gpu")
"""Not TMPDIR or XDG_RUNTIME_DIR, which differ between users. Mode 1777, its files are read only, as a lock needs no more."""

POLL_SECONDS = 0.5

WORKSPACE = ":4096:8"
"""CUBLAS_WORKSPACE_CONFIG: with it, and only with it or :16:8, cuBLAS gives the same bits in every run."""

_HELD: list[tuple[Device, int]] = []
"""What this process holds until it ends: devices and the descriptors of their locks."""


@dataclass(frozen=True)
class Device:
    """One GPU, or one part of a GPU (MIG).

    Attributes:
        name: what CUDA_VISIBLE_DEVICES calls it: a number, a UUID or a MIG name.
        lock: the name of its lock: its UUID where that is known, so that `0` and `GPU-5a56...` are one device.
    """

    name: str
    lock: str


def take(number: int) -> list[str]:
    """Take `number` devices for this process until it ends, waiting where others hold them.

    All are taken at once or none is kept, so that two who wait for several do not wait for each other. Call it before CUDA
    is started.

    Returns:
        Their names, as CUDA_VISIBLE_DEVICES has them from now on; none in a job of a SLURM that sets no such variable.

    Raises:
        UserError: this machine shows no device, or fewer than `number`.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = WORKSPACE
    if _slurm_job() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return []
    if not _HELD:
        _HELD.extend(_wait_for(number, visible()))
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device.name for device, _ in _HELD)
    if len(_HELD) < number:
        raise UserError(f"{number} GPUs are needed, and this process has started with {len(_HELD)}; run again")
    return [device.name for device, _ in _HELD]


def visible() -> list[Device]:
    """The devices that this process may use: those of CUDA_VISIBLE_DEVICES if it is set, else all of the machine."""
    gpus = _gpus()
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return [Device(uuid, uuid) for parts in gpus for uuid in parts]
    devices: dict[str, Device] = {}
    for name in (part.strip() for part in setting.split(",")):
        if name in ("", "-1"):  # CUDA reads no further either
            break
        device = Device(name, _lock_name(name, gpus))
        devices.setdefault(device.lock, device)
    return list(devices.values())


def check_run(needs: Mapping[str, int], provided: int | None, command: Sequence[str]) -> None:
    """Refuse a local run that does not say how many GPUs its jobs may hold, or says fewer than one of them needs.

    Without a number Snakemake starts all jobs at once, and one that is too small silently makes jobs ask for less.

    Args:
        needs: devices of each job that runs on them, by name.
        provided: what `--resources gpu=N` says, None where it is missing.
        command: as it was typed (`sys.argv`).

    Raises:
        UserError: has the command to type.
    """
    if not needs:
        return
    name, most = min(needs.items(), key=lambda item: (-item[1], item[0]))
    if provided is not None and provided >= most:
        return
    right = _with_gpus(command, max(most, len(visible())))
    jobs = f"{name} needs {most} GPU{'' if most == 1 else 's'}"
    if provided is None:
        raise UserError(f"{jobs}, and this run does not say how many it may use at once; type: {right}")
    raise UserError(f"{jobs}, and --resources gives gpu={provided}; type: {right}")


def gpus_in(gres: str) -> int:
    """GPUs in a list of SLURM's generic resources such as `gpu:a100:4(S:0-1),shard:8`."""
    plain = re.sub(r"\([^)]*\)", "", gres)
    parts = [entry.split(":") for entry in plain.split(",")]
    return sum(int(part[-1]) if part[-1].isdigit() else 1 for part in parts if part[0] == "gpu")


def _gpus() -> list[list[str]]:
    """UUIDs of each GPU in the driver's order: its own, or those of its parts where it is split (MIG)."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        found = [re.search(r"GPU UUID:\s*(\S+)", file.read_text(encoding="utf-8")) for file in files]
        return [[match[1]] for match in found if match]
    gpus: list[list[str]] = []
    whole: str | None = None
    for line in listed.splitlines():
        uuid = re.search(r"\(UUID: ([^)]+)\)", line)
        if uuid and line.startswith("GPU "):
            whole = uuid[1]
            gpus.append([whole])
        elif uuid and gpus:
            gpus[-1] = [uuid[1]] if gpus[-1] == [whole] else [*gpus[-1], uuid[1]]
    return gpus


def _lock_name(name: str, gpus: Sequence[Sequence[str]]) -> str:
    """The UUID of the device `name`, or the name itself where the driver tells no such device."""
    if name.isdigit() and int(name) < len(gpus):
        return gpus[int(name)][0]
    known = [uuid for parts in gpus for uuid in parts if uuid.startswith(name)]
    return known[0] if len(known) == 1 else name


def _slurm_job() -> str | None:
    """Job and step that this process belongs to."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}.{os.environ.get('SLURM_STEP_ID', '')}" if job else None


def _wait_for(number: int, devices: Sequence[Device]) -> list[tuple[Device, int]]:
    names = ", ".join(device.name for device in devices)
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if _slurm_job() and number > len(devices):
        raise UserError(
            f"{number} GPU{'s are' if number > 1 else ' is'} needed, and SLURM gave this job {len(devices)} ({names or 'none'}): "
            "does it ask for gpu or gres, and are the generic resources of its node right (sinfo -o '%n %G')?"
        )
    if not devices and setting is not None:
        raise UserError(f"CUDA_VISIBLE_DEVICES is {setting!r}, which hides every GPU; unset it or name devices in it")
    if not devices:
        raise UserError("no GPU: the driver lists none (nvidia-smi -L); run where there is one, or on the cpu")
    if number > len(devices):
        raise UserError(f"{number} GPUs are needed for one job, and there are {len(devices)} to use ({names})")
    folder = _folder()
    told = False
    while True:
        held = _attempt(number, devices, folder)
        if held:
            return held
        if not told:
            print(f"waiting for {number} of the GPUs {names}, which other jobs hold", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL_SECONDS)


def _folder() -> Path:
    folder = Path(os.environ.get("MAXACT_GPU_LOCKS") or LOCKS)
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
        if job := _slurm_job():
            folder /= job
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot hold locks ({error.strerror}); name another folder in MAXACT_GPU_LOCKS"
        ) from None
    finally:
        os.umask(before)
    return folder


def _attempt(number: int, devices: Sequence[Device], folder: Path) -> list[tuple[Device, int]]:
    """The first `number` devices that are free, or none. One process tries at a time, so that two do not split a pair."""
    held: list[tuple[Device, int]] = []
    with _turn(folder):
        for device in devices:
            if len(held) < number:
                lock = _lock(folder / re.sub(r"[^A-Za-z0-9._-]", "_", device.lock), fcntl.LOCK_NB)
                held += [] if lock is None else [(device, lock)]
        if len(held) < number:
            while held:
                os.close(held.pop()[1])
    return held


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


def _with_gpus(command: Sequence[str], number: int) -> str:
    """The command with `--resources gpu=number` in place of what it says of GPUs."""
    program, *arguments = command
    words = [os.path.basename(program) if os.path.isabs(program) else program]
    asked = any(re.fullmatch(r"((--resources|--res)=)?gpu=\d+", word) for word in arguments)
    for word in arguments:
        words.append(re.sub(r"^((?:(?:--resources|--res)=)?gpu=)\d+$", rf"\g<1>{number}", word))
        if not asked and word in ("--resources", "--res"):
            words.append(f"gpu={number}")
            asked = True
    return shlex.join(words if asked else [*words, "--resources", f"gpu={number}"])
