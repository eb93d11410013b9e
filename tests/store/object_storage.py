"""A real server of object storage (SeaweedFS) on the loopback, with credentials."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY, SECRET = "writer", "secret-of-writer"
PLAIN = "plain-writer"
"""The access key of one who may not make buckets; KEY's may, and this server does so when they write to one that is missing."""
READER = "reader"
"""The access key of one who may read alone."""
PUBLIC = "public"
"""The bucket that may be read without credentials, but not listed."""


@contextmanager
def object_storage(folder: Path) -> Iterator[str]:
    """Run a server in `folder`, as long as the context lasts.

    Yields:
        Its address.

    Raises:
        RuntimeError: it has ended, or does not answer within half a minute; the text is its log.
    """
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no weed, a server of object storage, which comes with envs/dev.txt")
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    plain = [{"accessKey": PLAIN, "secretKey": SECRET}]
    reader = [{"accessKey": READER, "secretKey": SECRET}]
    identities = [
        {"name": "writer", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "plain", "credentials": plain, "actions": ["Read", "Write", "List"]},
        {"name": "reader", "credentials": reader, "actions": ["Read", "List"]},
        {"name": "anonymous", "actions": [f"Read:{PUBLIC}"]},
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    s3, master, volume, filer = _free_ports(4)
    command = [program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    command += [
        f"-s3.port={s3}",
        f"-s3.config={folder / 's3.json'}",
        f"-master.port={master}",
        f"-volume.port={volume}",
    ]
    command += ["-filer", f"-filer.port={filer}", "-volume.max=20", "-master.volumeSizeLimitMB=64"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    log = folder / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process,
    ):
        try:
            _wait(process, s3, log)
            yield f"http://127.0.0.1:{s3}"
        finally:
            process.kill()  # what it has is not needed any more, and to end well takes it half a minute


def _free_ports(number: int) -> list[int]:
    """Ports that nobody has, and 10,000 above which nobody has either: there the server listens too."""
    found: list[int] = []
    while len(found) < number:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            if port not in found:
                found.append(port)
    return found


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(log.read_text()[-2000:])
