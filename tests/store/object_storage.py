"""A real server of object storage (SeaweedFS) on the loopback, with credentials."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from ports import free_ports

KEY, SECRET = "writer", "secret-of-writer"
PLAIN = "plain-writer"
"""The access key of one who may not make buckets; KEY's may, and this server does so when they write to one that is missing."""
READER = "reader"
"""The access key of one who may read alone."""
PUBLIC = "public"
"""The bucket that may be read without credentials, but not listed."""
TRIES = 3


@contextmanager
def object_storage(folder: Path) -> Iterator[str]:
    """Run a server below `folder`, as long as the context lasts, with the bucket `PUBLIC`.

    Yields:
        Its address.

    Raises:
        RuntimeError: it has ended three times, or answers no request; the text is its log.
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
    for _ in range(TRIES):
        with _server(program, folder) as (process, address, log):
            if _is_ready(process, address):
                yield address
                return
    raise RuntimeError(log.read_text()[-4000:])


@contextmanager
def _server(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A server that is starting, its address, and its log."""
    data = Path(tempfile.mkdtemp(prefix="data", dir=folder))
    s3, master, volume, filer = free_ports(4, offset=10_000)  # there it listens too
    command = [program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    command += [
        f"-s3.port={s3}",
        f"-s3.config={folder / 's3.json'}",
        f"-master.port={master}",
        f"-volume.port={volume}",
    ]
    command += ["-filer", f"-filer.port={filer}", "-volume.max=20", "-master.volumeSizeLimitMB=64"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    log = data.with_suffix(".log")
    with (
        log.open("w") as stream,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process,
    ):
        try:
            yield process, f"http://127.0.0.1:{s3}", log
        finally:
            process.kill()  # what it has is not needed any more, and to end well takes it half a minute


def _is_ready(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until it has the bucket and what was written there can be read; False where it ends before, as it may have lost a
    port to another process."""
    import s3fs

    port, ends = int(address.rpartition(":")[2]), time.monotonic() + 180
    short = {"connect_timeout": 10, "read_timeout": 10, "retries": {"max_attempts": 1}}
    files = s3fs.S3FileSystem(
        key=KEY, secret=SECRET, endpoint_url=address, config_kwargs=short, skip_instance_cache=True
    )
    while time.monotonic() < ends and process.poll() is None:
        time.sleep(0.05)
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)):
                continue
        try:
            if not files.exists(PUBLIC):
                files.mkdir(PUBLIC)
            files.pipe_file(f"{PUBLIC}/begun", b"begun")
            if files.cat_file(f"{PUBLIC}/begun") == b"begun":
                return True
        except (OSError, BotoCoreError, ClientError):
            continue  # its parts begin one after the other
    return False
