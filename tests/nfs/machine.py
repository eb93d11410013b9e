"""A small Linux of its own that serves NFS 4.2 and mounts it twice, as two machines do.

The kernel of a container has no NFS as a rule, and a test may load no module into it. Debian's `user-mode-linux` is a whole
kernel, with the modules of NFS, that runs as an ordinary process: it reads the file system of this machine, and has no network
but its own. In it `inside.sh` starts the kernel's server, and two clients in name spaces of their own, which virtual cables join
to it; then it runs pytest on `inside.py`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = Path("/usr/lib/uml/modules")
WANTED = ("nfs", "nfsv4", "nfsd", "veth")


def lacking() -> str | None:
    """Why no such machine can be started here, or None."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for program in ("linux.uml", "ip", "nsenter", "unshare", "mount"):
        if shutil.which(program, path=path) is None:
            return f"no {program}: make nfs-machine installs it as root on Debian"
    return None if os.geteuid() == 0 else "name spaces for its processes and mounts are made as root here"


def run(seconds: float) -> tuple[int, str, str]:
    """Start the machine, run the tests in it, and wait for its end.

    Returns:
        pytest's exit code there (-1 if it was not reached), what the machine printed, and pytest's outcomes as JUnit has them.
    """
    # Not below pytest's folder: the name of a socket in it must be short.
    with tempfile.TemporaryDirectory(prefix="nfs-") as folder:
        scratch = Path(folder)
        (scratch / "modules").write_text("\n".join(map(str, _modules())), encoding="utf-8")
        init = scratch / "init"
        words = [str(HERE / "inside.sh"), folder, sys.executable, str(HERE / "inside.py")]
        init.write_text(f"#!/bin/sh\nexec sh {shlex.join(words)}\n", encoding="utf-8")
        init.chmod(0o755)
        with (scratch / "printed").open("wb") as printed:
            finished = _run(init, printed.fileno(), seconds)
        texts = [scratch / name for name in ("code", "printed", "outcomes.xml")]
        code, told, outcomes = (file.read_text(errors="replace") if file.exists() else "" for file in texts)
    return int(code or -1), told + f"not finished after {seconds:g} s" * (not finished), outcomes


def _run(init: Path, printed: int, seconds: float) -> bool:
    """Whether the machine has ended by itself."""
    # Its processes are processes here, which the kernel in it has under its control while it lives: so they have name spaces
    # of their own for mounts and processes, and are all ended in one moment.
    command = [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "linux.uml", "mem=768M", "root=/dev/root",
        "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet", f"uml_dir={init.parent}/uml", "con=null",
        "con0=null,fd:1", "con1=fd:0,fd:1",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
    ) as starter:
        try:
            starter.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(starter.pid)


def _end(starter: int) -> None:
    """End what `unshare` has started, a group of processes of which the machine is the first, and then itself."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{starter}/task/{starter}/children").read_text(encoding="ascii").split():
            os.killpg(int(child), signal.SIGKILL)
        os.kill(starter, signal.SIGKILL)


def _modules() -> list[Path]:
    """Files of the modules that are wanted, each after those that it needs."""
    version = subprocess.run(["linux.uml", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    folder = MODULES / version
    needs = {}
    for line in (folder / "modules.dep").read_text(encoding="ascii").splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    order: list[str] = []
    for name in WANTED:
        (file,) = [file for file in needs if Path(file).name == f"{name}.ko"]
        order += [other for other in (*reversed(needs[file]), file) if other not in order]
    return [folder / file for file in order]
