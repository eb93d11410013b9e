"""Devices are lent to one process each, whatever they are called, and come back however it ends. The devices are stand-ins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maxact import devices
from maxact.devices import Device, check_run, visible
from maxact.errors import UserError

HOLD = """
import os, sys
from maxact.devices import take
from maxact.errors import UserError
try:
    names = take(int(sys.argv[1]))
except UserError as error:
    sys.exit(f"error: {error}")
print(",".join(names), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""

MARK = """
import os, sys, time
from pathlib import Path
from maxact import devices
devices.POLL_SECONDS = 0.02
names = devices.take(int(sys.argv[1]))
busy = [Path(sys.argv[2], name) for name in names]
for file in busy:
    os.close(os.open(file, os.O_CREAT | os.O_EXCL))  # fails where another has the device too
time.sleep(0.1)
for file in busy:
    file.unlink()
print(*names)
"""

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-0000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1111)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of its own, no driver, no scheduler, two stand-in devices."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("MAXACT_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "fake0,fake1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def driver(tmp_path: Path) -> None:
    """An nvidia-smi that lists a whole GPU and one in two parts."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{LISTED}'\n")
    program.chmod(0o755)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that takes so many devices, tells them, and holds them until its input is closed."""
    started: list[subprocess.Popen[str]] = []

    def begin(number: int, script: str = HOLD, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-c", script, str(number), *arguments]
        process = subprocess.Popen(command, text=True, env=os.environ | environment, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_each_process_gets_a_device_of_its_own_and_sees_no_other(start: Start) -> None:
    assert told(start(1)) == "fake0 fake0"
    assert told(start(1)) == "fake1 fake1"


def test_more_jobs_than_devices_never_overlap(tmp_path: Path, start: Start) -> None:
    (tmp_path / "busy").mkdir()
    names = "fake0,fake1,fake2,fake3"
    wanted = [1, 2, 1, 3, 1, 2, 2, 1, 4, 1, 2, 4]
    jobs = [start(number, MARK, str(tmp_path / "busy"), CUDA_VISIBLE_DEVICES=names) for number in wanted]
    for job, number in zip(jobs, wanted, strict=True):
        output, errors = job.communicate(timeout=300)
        assert job.returncode == 0, errors
        assert len(set(output.split())) == number
        assert set(output.split()) <= set(names.split(","))


def test_who_waits_says_so_and_goes_on_when_a_device_is_free(start: Start) -> None:
    first, second = start(1), start(1)
    assert {told(first), told(second)} == {"fake0 fake0", "fake1 fake1"}
    third = start(1)
    assert third.stderr
    assert third.stderr.readline().strip() == "waiting for 1 of the GPUs fake0, fake1, which other jobs hold"
    assert third.poll() is None
    first.communicate("")
    assert told(third) in ("fake0 fake0", "fake1 fake1")


def test_a_killed_process_leaves_its_devices_free(start: Start) -> None:
    holder = start(2)
    assert told(holder) == "fake0,fake1 fake0,fake1"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert told(start(2)) == "fake0,fake1 fake0,fake1"


def test_devices_of_several_holders_are_free_when_the_holders_are_killed(start: Start) -> None:
    names = {"CUDA_VISIBLE_DEVICES": "fake0,fake1,fake2,fake3"}
    holders = [start(2, **names), start(2, **names)]
    held = [told(holder).split()[0] for holder in holders]
    assert sorted(held) == ["fake0,fake1", "fake2,fake3"]
    all_four = start(4, **names)
    assert all_four.stderr
    all_four.stderr.readline()
    holders[0].send_signal(signal.SIGKILL)
    holders[0].wait()
    assert told(start(2, **names)).split()[0] == held[0]  # who waits for four keeps none meanwhile
    holders[1].send_signal(signal.SIGKILL)
    holders[1].wait()
    assert told(start(2, **names)).split()[0] == held[1]


def test_who_wants_two_keeps_none_while_one_is_held(start: Start) -> None:
    assert told(start(1)) == "fake0 fake0"
    both = start(2)
    assert both.stderr
    both.stderr.readline()
    assert told(start(1)) == "fake1 fake1"


def test_who_has_waited_long_is_next_whatever_comes_after_it(start: Start) -> None:
    """Three devices, of which the last is no concern of the one that waits."""
    hurried = HOLD.replace(
        "from maxact.errors", "from maxact import devices; devices.PATIENCE_SECONDS = 0\nfrom maxact.errors"
    )
    first = start(1)
    assert told(first) == "fake0 fake0"
    both = start(2, hurried)
    assert both.stderr
    both.stderr.readline()
    assert both.stderr.readline() == "fake0, fake1: those that become free are kept for this job\n"
    small = start(1)
    assert small.stderr
    assert small.stderr.readline().startswith("waiting for 1 of the GPUs fake0, fake1")  # though fake1 is free
    assert told(start(1, CUDA_VISIBLE_DEVICES="fake0,fake1,fake2")) == "fake2 fake2"
    first.communicate("")
    assert told(both) == "fake0,fake1 fake0,fake1"
    both.communicate("")
    assert told(small) == "fake0 fake0"


def test_devices_of_a_process_in_another_environment_are_held_until_that_ends(start: Start) -> None:
    """The process that has taken them is killed, and its child is still at work on them."""
    script = HOLD.replace(
        "sys.stdin.read()",
        "from maxact.devices import descriptors; import subprocess\n"
        "child = subprocess.Popen(['/bin/sleep', '120'], pass_fds=descriptors())\n"
        "print(child.pid, flush=True); sys.stdin.read()",
    )
    parent = start(2, script)
    assert told(parent) == "fake0,fake1 fake0,fake1"
    child = int(told(parent))
    parent.kill()
    parent.wait()
    waiting = start(1)
    assert waiting.stderr
    assert waiting.stderr.readline().startswith("waiting for 1 of the GPUs")
    os.kill(child, signal.SIGKILL)
    assert told(waiting) == "fake0 fake0"


def test_a_scheduler_has_given_each_job_its_devices(start: Start) -> None:
    """Two jobs may call theirs by one name, where each sees no other's."""
    assert told(start(1, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0")) == "0 0"
    assert told(start(1, SLURM_JOB_ID="8", CUDA_VISIBLE_DEVICES="0")) == "0 0"
    assert told(start(1, SLURM_JOB_ID="8", SLURM_STEP_ID="1", CUDA_VISIBLE_DEVICES="0")) == "0 0"


def test_in_an_allocation_of_several_devices_each_process_has_its_own(start: Start) -> None:
    here = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "2,3"}
    first = start(1, **here)
    assert told(first) == "2 2"
    assert told(start(1, **here)) == "3 3"
    third = start(1, **here)
    assert third.stderr
    assert third.stderr.readline().startswith("waiting for 1 of the GPUs 2, 3")
    first.kill()
    first.wait()
    assert told(third) == "2 2"


def test_where_a_scheduler_names_no_devices_none_is_taken(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert told(start(1, SLURM_JOB_ID="7")) == "None"


@pytest.mark.parametrize(
    ("given", "wanted", "said"), [("", 1, "gave this job 0 (none)"), ("5", 2, "gave this job 1 (5)")]
)
def test_a_scheduler_that_gave_too_few_is_an_error(given: str, wanted: int, said: str, start: Start) -> None:
    _, errors = start(wanted, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES=given).communicate()
    assert errors.startswith(f"error: {wanted} GPU")
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("setting", ["", "-1", "-1,0"])
def test_hidden_devices_are_an_error(setting: str, start: Start) -> None:
    _, errors = start(1, CUDA_VISIBLE_DEVICES=setting).communicate()
    assert errors.strip() == (
        f"error: CUDA_VISIBLE_DEVICES is {setting!r}, which hides every GPU; unset it or name devices in it"
    )


def test_no_device_and_too_few_are_errors(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    _, errors = start(3).communicate()
    assert errors.strip() == "error: 3 GPUs are needed for one job, and there are 2 to use (fake0, fake1)"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if Path("/proc/driver/nvidia/gpus").exists():
        pytest.skip("this machine has a GPU")
    _, errors = start(1).communicate()
    assert errors.startswith("error: no GPU: the driver lists none")


def test_a_folder_for_locks_that_cannot_be_is_an_error(tmp_path: Path, start: Start) -> None:
    (tmp_path / "file").write_text("")
    _, errors = start(1, MAXACT_GPU_LOCKS=str(tmp_path / "file")).communicate()
    assert errors.startswith(f"error: {tmp_path / 'file'}: cannot hold locks")


def test_every_user_of_the_machine_can_use_the_locks(tmp_path: Path, start: Start) -> None:
    before = os.umask(0o077)
    try:
        told(start(1))
    finally:
        os.umask(before)
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "locks" / "fake0").stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("driver")
def test_without_a_setting_the_driver_lists_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [device.name for device in visible()] == ["GPU-aaaa-0000", "MIG-cccc", "MIG-dddd"]


@pytest.mark.usefixtures("driver")
def test_a_device_keeps_its_name_and_has_one_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-aaaa,MIG-dddd,1,9")
    assert visible() == [
        Device("0", "GPU-aaaa-0000"),
        Device("MIG-dddd", "MIG-dddd"),
        Device("1", "MIG-cccc"),
        Device("9", "9"),
    ]


@pytest.mark.usefixtures("driver")
def test_a_number_and_the_uuid_of_one_device_exclude_each_other(start: Start) -> None:
    assert told(start(1, CUDA_VISIBLE_DEVICES="0")) == "0 0"
    assert told(start(1, CUDA_VISIBLE_DEVICES="GPU-aaaa-0000,MIG-cccc")) == "MIG-cccc MIG-cccc"


def test_a_process_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_HELD", [])
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    try:
        assert devices.take(1) == devices.take(1) == ["fake0"]
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        with pytest.raises(UserError, match="2 GPUs are needed, and this process has started with 1; run again"):
            devices.take(2)
    finally:
        for _, lock in devices._HELD:
            os.close(lock)


COMMANDS = [
    (["/a/bin/snakemake", "--cores", "all"], "snakemake --cores all --resources gpu=2"),
    (
        [".venv/bin/snakemake", "-c1", "--configfile", "a b"],
        ".venv/bin/snakemake -c1 --configfile 'a b' --resources gpu=2",
    ),
    (["snakemake", "--resources", "mem_mb=9", "-c1"], "snakemake --resources gpu=2 mem_mb=9 -c1"),
    (["snakemake", "--resources", "mem_mb=9", "gpu=0"], "snakemake --resources mem_mb=9 gpu=2"),
    (["snakemake", "--resources=gpu=1"], "snakemake --resources=gpu=2"),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_a_run_that_does_not_say_how_many_gets_the_command_to_type(command: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check_run({"big": 2, "small": 1}, None, command)
    assert (
        str(caught.value)
        == f"big needs 2 GPUs, and this run does not say how many it may use at once; type: {expected}"
    )
    with pytest.raises(UserError, match=r"big needs 2 GPUs, and --resources gives gpu=1; type: "):
        check_run({"big": 2, "small": 1}, 1, command)
    check_run({"big": 2, "small": 1}, 2, command)
    check_run({}, None, command)
