"""Environments that some checkpoints need beside the study's own, made on first need and kept.

An environment `ling` is the folder `.venv-ling` beside `envs/`, made by the running Python from the lock `envs/ling.txt`. It
has torch in the version, and where possible the very build, of the study's own environment: if that holds the locked
version, the new one has links to its folders; otherwise pip installs `envs/torch.txt`.

The library is not installed there: a process of that environment's Python finds this very library on its path. The job goes
there as JSON and its product comes back as JSON, by way of the job's scratch folder.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from maxact import devices
from maxact.errors import UnavailableError, UserError
from maxact.store.job import Job, Product
from maxact.store.locks import hold
from maxact.store.objects import digest_text

LIBRARY = Path(__file__).parents[2]
CHECKOUT = LIBRARY.parent
STAMP = "made-from"
BUILDS = ("nvidia-", "cuda-", "triton")
"""How the names of the packages begin that belong to one build of torch."""


def folder_of(environment: str) -> Path:
    """Where the environment is, or will be."""
    return CHECKOUT / f".venv-{environment}"


def compute_in(environment: str, module: str, job: Job, packages: Mapping[str, str]) -> Product:
    """The product of one job, computed in that environment, which is made first if need be.

    Args:
        environment: its name.
        module: dotted name of the module with `compute`.
        job: what it is given.
        packages: the versions that must be installed there.

    Raises:
        UserError: from the stage; the environment cannot be made, or has other packages.
        RuntimeError: the process failed in another way; its own words are on standard error.
    """
    request, answer = job.scratch / "job.json", job.scratch / "product.json"
    fields = {name: getattr(job, name) for name in ("stage", "name", "parameters", "uses")}
    fields |= {"inputs": {source: json.loads(manifest.to_json()) for source, manifest in job.inputs.items()}}
    fields |= {"store": str(job.store.root.resolve()), "scratch": str(job.scratch.resolve())}
    fields |= {"unfinished": str(job.unfinished.resolve()) if job.unfinished else None}
    mend = f"delete {folder_of(environment)}, which is then made again"
    asked = {"module": module, "job": fields, "packages": packages, "mend": mend, "answer": str(answer.resolve())}
    request.write_text(json.dumps(asked), encoding="utf-8")
    with ready(environment) as python:
        command = [str(python), "-P", "-m", "maxact.store.inside", str(request.resolve())]
        # It ends when this pipe is closed, so that it does not outlive a process that was killed.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, env=_variables(), pass_fds=devices.descriptors()
        ) as process:
            code = process.wait()
    if not answer.exists():
        raise RuntimeError(f"{job.stage} {job.name}: its process in the environment {environment!r} ended with {code}")
    told = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in told:
        raise (UnavailableError if told["unavailable"] else UserError)(told["error"])
    return Product({item: Path(file) for item, file in told["files"].items()}, told["summary"], told["costs"])


def _variables() -> dict[str, str]:
    """The environment variables of the process, with the library first on its path."""
    paths = [str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def ready(environment: str) -> Iterator[Path]:
    """The environment's Python, which nobody makes anew meanwhile; the environment is made first if need be.

    Raises:
        UserError: there is no lock for it, or it cannot be made; one line.
    """
    folder = folder_of(environment)
    with _lock_file(folder) as lock:
        hold(lock, fcntl.LOCK_SH)
        while not _is_ready(environment):
            hold(lock, fcntl.LOCK_EX)
            if not _is_ready(environment):  # another job may have made it while this one waited
                _make(environment)
            hold(lock, fcntl.LOCK_SH)
        yield folder / "bin" / "python"


@contextmanager
def _lock_file(folder: Path) -> Iterator[IO[str]]:
    try:
        stream = folder.with_name(folder.name + ".lock").open("a+")
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); mend permissions") from None
    with stream:
        yield stream


def _is_ready(environment: str) -> bool:
    folder = folder_of(environment)
    stamp = folder / STAMP
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != _recipe(environment):
        return False
    links = [path for path in _site_packages(folder).iterdir() if path.is_symlink()]
    return all(link.exists() for link in links)  # the torch that they lead to may have gone


def _recipe(environment: str) -> str:
    """What the environment is made from: locks and Python; another text means that it is made anew."""
    locks = [_lock(environment), CHECKOUT / "envs" / "torch.txt"]
    digests = [digest_text(lock.read_text(encoding="utf-8")) for lock in locks]
    return "\n".join([*digests, sys.version.split()[0], os.path.realpath(sys.executable)]) + "\n"


def _lock(environment: str) -> Path:
    lock = CHECKOUT / "envs" / f"{environment}.txt"
    if not lock.exists():
        raise UserError(f"{lock}: missing, so the environment {environment!r} cannot be made; restore the file")
    return lock


def _make(environment: str) -> None:
    """Make the folder anew; the stamp is written last, so that half an environment is never taken for one."""
    folder, locks = folder_of(environment), CHECKOUT / "envs"
    print(f"making {folder} from {_lock(environment).name} (once)", file=sys.stderr)
    (folder / STAMP).unlink(missing_ok=True)
    _run(environment, [sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run(environment, [*pip, "--no-deps", "--require-hashes", "--requirement", str(_lock(environment))])
    if not _link_torch(folder, locks / "torch.txt"):
        _run(environment, [*pip, "--requirement", str(locks / "torch.txt")])
    (folder / STAMP).write_text(_recipe(environment), encoding="utf-8")


def _run(environment: str, command: list[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no word"]
        raise UserError(
            f"{folder_of(environment)}: cannot be made from envs/{environment}.txt "
            f"({said[0].removeprefix('ERROR: ')[:200]}); see that pip reaches its package index, then run again"
        )


def _link_torch(folder: Path, lock: Path) -> bool:
    """Link the torch of this environment into the one in `folder`, if it is the locked version; whether it was."""
    pin = next(line for line in lock.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    try:
        torch = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    if torch.version.partition("+")[0] != pin.removeprefix("torch==").strip():
        return False
    source = Path(str(torch.locate_file("")))
    for top in sorted(_top_folders(source)):
        target = _site_packages(folder) / top
        if not target.exists():
            target.symlink_to(source / top)
    return (_site_packages(folder) / "torch").exists()


def _top_folders(source: Path) -> set[str]:
    """Top entries in `source` of all installed packages that belong to torch's build."""
    found: set[str] = set()
    for package in importlib.metadata.distributions(path=[str(source)]):
        name = package.metadata["Name"].lower()
        if name == "torch" or name.startswith(BUILDS):
            found |= {file.parts[0] for file in package.files or ()}
    return {top for top in found if not top.startswith(".") and top != "__pycache__" and (source / top).exists()}


def _site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
