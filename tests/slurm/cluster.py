"""A real SLURM on this machine: munged, slurmctld and a slurmd for each node of eight cores and four stand-in GPUs.

Debian's packages, without systemd, in a private folder. The GPUs are character devices that give nothing; SLURM counts them and
sets CUDA_VISIBLE_DEVICES as for real ones. On request slurmdbd keeps accounts in a MariaDB of its own. The daemons are ended with
the `with` block, by the processes that were started.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ports import free_ports

DAEMONS = ("munged", "slurmctld", "slurmd")
ACCOUNTING = ("slurmdbd", "mariadbd")
TOOLS = ("srun", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
GPUS = 4

CONFIGURATION = """\
ClusterName=testlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
StateSaveLocation={root}/ctld
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout={patience}
MessageTimeout={answer}
UnkillableStepTimeout={unkillable}
BatchStartTimeout=120
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
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 State=UP
"""

NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=64000 Gres=gpu:{gpus}\n"

NO_ACCOUNTS = "AccountingStorageType=accounting_storage/none\n"
ACCOUNTS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/run/munge.sock
AccountingStorageTRES=gres/gpu
"""

DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounts
"""


def lacking(accounts: bool = False) -> str | None:
    """Why no cluster can be started here, or None."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    wanted = (*DAEMONS, "sbatch", *(ACCOUNTING if accounts else ()))
    missing = [name for name in wanted if shutil.which(name, path=path) is None]
    if missing:
        return f"SLURM is not installed (no {', '.join(missing)}): make slurm-daemons installs it as root on Debian"
    return None if os.geteuid() == 0 else "SLURM's daemons are started as root here"


class EndedError(Exception):
    """A daemon has ended while the cluster was started."""


class Cluster:
    """A running cluster, inside a `with`; `environment` is what its users' processes get.

    Args:
        nodes: how many, each a slurmd; one is named as the machine.
        accounts: whether slurmdbd keeps accounts.
        patience: seconds after which a node that does not answer is lost.
    """

    def __init__(self, nodes: int = 1, accounts: bool = False, patience: int = 300) -> None:
        # Not below pytest's folder: munged wants one that all may go through.
        self.root, self.host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname().partition(".")[0]
        self.nodes = [self.host] if nodes == 1 else [f"node{number}" for number in range(1, nodes + 1)]
        self._accounts, self._patience = accounts, patience
        self._started: list[subprocess.Popen[bytes]] = []
        self._of_node: dict[str, subprocess.Popen[bytes]] = {}
        path = f"{self.root}/bin:{os.environ['PATH']}"
        self.environment = {"PATH": path, "SLURM_CONF": f"{self.root}/etc/slurm.conf"}

    def __enter__(self) -> Cluster:
        for _ in range(2):
            with contextlib.suppress(EndedError):  # another process may have taken a port meanwhile
                return self._begin()
        return self._begin()

    def _begin(self) -> Cluster:
        self._prepare()
        run, munge, configuration = self.root / "run", self.root / "munge", str(self.root / "etc" / "slurm.conf")
        try:
            self._start(
                "munged", "--foreground", "--num-threads=4", f"--key-file={munge}/munge.key",
                f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid", f"--log-file={self.root}/log/munged.log",
                f"--seed-file={munge}/seed",
            )  # fmt: skip
            self._wait(lambda: (run / "munge.sock").exists())
            if self._accounts:
                self._keep_accounts()
            self._start("slurmctld", "-D", "-f", configuration)
            for name in self.nodes:
                self.start_node(name)
            self._wait(lambda: self.told("sinfo", "-h", "-o", "%T %D") == f"idle {len(self.nodes)}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._of_node:
            with contextlib.suppress(subprocess.TimeoutExpired):
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

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node, again after it was lost."""
        self._start("slurmd", "-D", "-f", f"{self.root}/etc/slurm.conf", "-N", name)
        self._of_node[name] = self._started[-1]

    def lose(self, name: str) -> None:
        """End all of a node at once, as when it loses power: its slurmd, and the jobs and steps that it runs."""
        slurmd = self._of_node.pop(name)
        slurmd.kill()
        slurmd.wait()
        # Those that watch over jobs first, else they tell of the end of what they watch over; they have the log open.
        log, node = f"{self.root}/log/slurmd-{name}.log", f"SLURMD_NODENAME={name}\0".encode()
        for belongs in (
            lambda process: log in [os.readlink(file) for file in (process / "fd").iterdir()],
            lambda process: node in (process / "environ").read_bytes() + b"\0",
        ):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if belongs(process):
                        os.kill(int(process.name), signal.SIGKILL)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def told(self, *command: str) -> str:
        """The same of one that may fail while the cluster starts."""
        return self.run(*command, check=False)

    def _prepare(self) -> None:
        self._started, self._of_node = [], {}
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o755)
        for name in ("etc", "run", "log", "ctld", "spool", "dev", "munge", "bin"):
            (self.root / name).mkdir(parents=True)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        for number in range(GPUS):
            os.mknod(self.root / "dev" / f"gpu{number}", 0o020666, os.makedev(1, 3))
        first, self._database, self._mariadb, *ports = free_ports(3 + len(self.nodes))
        answer = max(
            10, self._patience // 3
        )  # SLURM wants the time for a step that cannot be killed to be five times as long
        times = {"patience": self._patience, "answer": answer, "unkillable": 5 * answer}
        text = CONFIGURATION.format(host=self.host, root=self.root, ports=[first], **times)
        for name, port in zip(self.nodes, ports, strict=True):
            text += NODE.format(name=name, host=self.host, port=port, gpus=GPUS)
        text += ACCOUNTS.format(root=self.root, port=self._database) if self._accounts else NO_ACCOUNTS
        (self.root / "etc" / "slurm.conf").write_text(text)
        gres = f"AutoDetect=off\nName=gpu File={self.root}/dev/gpu[0-{GPUS - 1}]\n"
        (self.root / "etc" / "gres.conf").write_text(gres)
        (self.root / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # The executor takes SLURM_CONF out of the environment of its inner srun.
        for tool in TOOLS:
            file = self.root / "bin" / tool
            file.write_text(f'#!/bin/sh\nSLURM_CONF={self.root}/etc/slurm.conf exec {shutil.which(tool)} "$@"\n')
            file.chmod(0o755)

    def _keep_accounts(self) -> None:
        """Start MariaDB and slurmdbd, and enter this cluster, an account and the user."""
        data, socket_file = self.root / "mariadb", self.root / "run" / "mariadb.sock"
        data.mkdir()
        mariadb = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", "--innodb-buffer-pool-size=32M"]
        path = f"{os.environ['PATH']}:/usr/sbin"
        tables = Path("/usr/share/mysql/mysql_system_tables.sql").read_text(encoding="utf-8")
        text = f"CREATE DATABASE mysql;\nCREATE DATABASE accounts;\nUSE mysql;\n{tables}"
        subprocess.run(
            [*mariadb, "--bootstrap"], input=text, text=True, check=True, capture_output=True, env={"PATH": path}
        )
        # On the loopback, for as long as the test takes: without passwords.
        self._start(
            *mariadb,
            f"--socket={socket_file}",
            "--bind-address=127.0.0.1",
            f"--port={self._mariadb}",
            "--skip-grant-tables",
        )
        self._wait(socket_file.exists)
        file = self.root / "etc" / "slurmdbd.conf"
        file.write_text(DATABASE.format(root=self.root, host=self.host, port=self._database, mariadb=self._mariadb))
        file.chmod(0o600)
        self._start("slurmdbd", "-D")
        for entry in (["cluster", "testlab"], ["account", "lab"], ["user", "root", "account=lab"]):
            self._wait(
                lambda entry=entry: any(  # type: ignore[misc]
                    word in self.told("sacctmgr", "-i", "add", *entry)
                    for word in ("Adding", "Associations", "Nothing new")
                )
            )

    def _start(self, *command: str) -> None:
        log = (self.root / "log" / f"{command[0]}.out").open("wb")
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        environment = os.environ | self.environment
        environment["PATH"] = f"{environment['PATH']}:/usr/sbin:/sbin"
        self._started.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet))

    def _wait(self, ready: Callable[[], object]) -> None:
        limit = time.monotonic() + 300
        while not ready():
            ended = [process.args for process in self._started if process.poll() is not None]
            if ended:
                raise EndedError(f"{ended}: {self._logs()}")
            assert time.monotonic() < limit, f"SLURM does not start: {self._logs()}"
            time.sleep(0.05)

    def _logs(self) -> str:
        """The ends of what the daemons have written."""
        logs = sorted((self.root / "log").iterdir())
        return "".join(f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}\n" for file in logs)
