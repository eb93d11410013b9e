"""A real SLURM on this machine: munged, slurmctld and slurmd with stand-in GPUs, as one node of eight cores and four GPUs.

Debian's packages, without systemd, in a private folder. The GPUs are character devices that give nothing; SLURM counts them and
sets CUDA_VISIBLE_DEVICES as for real ones. The daemons are ended with the `with` block, by the processes that were started.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

DAEMONS = ("munged", "slurmctld", "slurmd")
TOOLS = ("srun", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")
GPUS = 4

CONFIGURATION = """\
ClusterName=testlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
StateSaveLocation={root}/ctld
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=60
MinJobAge=300
KillWait=2
OverTimeLimit=0
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 DefaultTime=10 State=UP
"""


def lacking() -> str | None:
    """Why no cluster can be started here, or None."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=path) is None]
    if missing:
        return f"SLURM is not installed (no {', '.join(missing)}): make slurm-daemons installs it as root on Debian"
    return None if os.geteuid() == 0 else "SLURM's daemons are started as root here"


class Cluster:
    """A running cluster, inside a `with`; `environment` is what its users' processes get."""

    def __init__(self) -> None:
        # Not below pytest's folder: munged wants one that all may go through.
        self.root, self.host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname().partition(".")[0]
        self.root.chmod(0o755)
        self._started: list[subprocess.Popen[bytes]] = []
        path = f"{self.root}/bin:{os.environ['PATH']}"
        self.environment = {"PATH": path, "SLURM_CONF": f"{self.root}/etc/slurm.conf"}

    def __enter__(self) -> Cluster:
        self._prepare()
        etc, run, munge = self.root / "etc", self.root / "run", self.root / "munge"
        try:
            self._start(
                "munged", "--foreground", "--num-threads=4", f"--key-file={munge}/munge.key",
                f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid", f"--log-file={self.root}/log/munged.log",
                f"--seed-file={munge}/seed",
            )  # fmt: skip
            self._wait(lambda: (run / "munge.sock").exists())
            self._start("slurmctld", "-D", "-f", str(etc / "slurm.conf"))
            self._start("slurmd", "-D", "-f", str(etc / "slurm.conf"), "-N", self.host)
            self._wait(lambda: self.told("sinfo", "-h", "-o", "%T") == "idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._started) == len(DAEMONS):
            self.run("scancel", "--user=root", check=False)
            limit = time.monotonic() + 15
            while self.told("squeue", "-h") and time.monotonic() < limit:
                time.sleep(0.1)
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def told(self, *command: str) -> str:
        """The same of one that may fail while the cluster starts."""
        return self.run(*command, check=False)

    def _prepare(self) -> None:
        for name in ("etc", "run", "log", "ctld", "spool", "dev", "munge", "bin"):
            (self.root / name).mkdir(parents=True)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        for number in range(GPUS):
            os.mknod(self.root / "dev" / f"gpu{number}", 0o020666, os.makedev(1, 3))
        text = CONFIGURATION.format(host=self.host, root=self.root, ports=_free_ports(2), gpus=GPUS)
        (self.root / "etc" / "slurm.conf").write_text(text)
        gres = f"AutoDetect=off\nNodeName={self.host} Name=gpu File={self.root}/dev/gpu[0-{GPUS - 1}]\n"
        (self.root / "etc" / "gres.conf").write_text(gres)
        (self.root / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # The executor takes SLURM_CONF out of the environment of its inner srun.
        for tool in TOOLS:
            file = self.root / "bin" / tool
            file.write_text(f'#!/bin/sh\nSLURM_CONF={self.root}/etc/slurm.conf exec {shutil.which(tool)} "$@"\n')
            file.chmod(0o755)

    def _start(self, *command: str) -> None:
        log = (self.root / "log" / f"{command[0]}.out").open("wb")
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        environment = os.environ | self.environment
        environment["PATH"] = f"{environment['PATH']}:/usr/sbin:/sbin"
        self._started.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet))

    def _wait(self, ready: Any) -> None:
        limit = time.monotonic() + 60
        while not ready():
            ended = [process.args for process in self._started if process.poll() is not None]
            assert not ended, f"{ended}: " + "".join(
                f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}\n" for file in (self.root / "log").iterdir()
            )
            assert time.monotonic() < limit, "SLURM does not start"
            time.sleep(0.05)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
