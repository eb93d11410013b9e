"""A stage for the tests of the store: it writes what its parameters say, and what it was given."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from maxact.errors import UnavailableError, UserError
from maxact.store.job import Job, Product

CALLS: list[str] = []


def compute(job: Job) -> Product:
    CALLS.append(job.name)
    if job.parameters.get("fail"):
        raise UserError("input.txt: asked to fail")
    if job.parameters.get("unavailable"):
        raise UnavailableError("far: cannot be had")
    if job.parameters.get("crash"):
        raise ZeroDivisionError("a defect")
    if job.parameters.get("wait"):
        Path(job.parameters["wait"]).write_text(str(os.getpid()))
        time.sleep(600)  # it is killed
    time.sleep(job.parameters.get("seconds", 0))
    limit = time.monotonic() + 120  # for what the test has others do meanwhile
    while len(CALLS) < job.parameters.get("together", 1) or not Path(job.parameters.get("until", "/")).exists():
        assert time.monotonic() < limit
        time.sleep(0.01)
    text = job.parameters["text"].replace("PREFIX", sys.prefix) * job.parameters.get("times", 1)
    for source in job.inputs:
        text += "".join(job.path(source, name).read_text() for name in job.objects(source))
    (job.scratch / "out.txt").write_text(text)
    (job.scratch / "extra.txt").write_text(job.parameters.get("extra", ""))
    files = {name: job.scratch / name for name in ("out.txt", "extra.txt")}
    return Product(files=files, summary={"length": len(text)}, costs={"forward_passes": 1})
