"""The GPUs of this machine, each lent to one job at a time by a lock that the kernel releases.

Snakemake counts how many devices its jobs hold (`--resources gpu=4`), but not which, and knows nothing of another run on
the same machine. So a process that computes on a GPU takes its devices here, before torch starts CUDA: it locks one file
for each and names them in CUDA_VISIBLE_DEVICES, so that to torch they are all there is. The kernel drops the locks when
the process ends, however it ends. A job of several devices takes what is free at one time, all or none; one that has waited for
PATIENCE_SECONDS keeps others from its devices from then on, so that a stream of smaller jobs does not pass it by for ever.

The files (`device_locks.py`) lie in one folder for all studies and users of the machine, `LOCKS`. Containers that share
devices share the locks if one folder is mounted into each and named in MAXACT_GPU_LOCKS. SLURM gives each job its devices:
only processes of one job share locks, as those of a local run in an interactive allocation do, and only the devices that it
was given are lent among them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from maxact.device_locks import Device, attempt, close, keep, lock_folder, slurm_job
from maxact.errors import UserError

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""Before that, smaller jobs go first where they fit; after it devices idle until enough are free."""

WORKSPACE = ":4096:8"
"""CUBLAS_WORKSPACE_CONFIG: with it, and only with it or :16:8, cuBLAS gives the same bits in every run."""

_HELD: list[tuple[Device, int]] = []
"""What this process holds until it ends: devices and the descriptors of their locks."""


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
    if slurm_job() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return []
    if not _HELD:
        _HELD.extend(_wait_for(number, visible()))
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device.name for device, _ in _HELD)
    if len(_HELD) < number:
        raise UserError(f"{number} GPUs are needed, and this process has started with {len(_HELD)}; run again")
    return [device.name for device, _ in _HELD]


def descriptors() -> tuple[int, ...]:
    """What a process that computes on the devices in the place of this one must inherit, so that they are held until both end."""
    return tuple(lock for _, lock in _HELD)


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


def _wait_for(number: int, devices: Sequence[Device]) -> list[tuple[Device, int]]:
    names = ", ".join(device.name for device in devices)
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if slurm_job() and number > len(devices):
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
    locks = lock_folder()
    started = time.monotonic()
    told = False
    kept: list[int] = []
    try:
        while True:
            held = attempt(number, devices, locks, bool(kept))
            if held:
                return held
            if not told:
                print(f"waiting for {number} of the GPUs {names}, which other jobs hold", file=sys.stderr, flush=True)
                told = True
            if not kept and time.monotonic() - started > PATIENCE_SECONDS:
                kept = keep(devices, locks)
                if kept:
                    print(f"{names}: those that become free are kept for this job", file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)
    finally:
        close(kept)


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
