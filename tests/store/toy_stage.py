"""A stage for the tests of the store: it writes what its parameters say, and what it was given."""

from __future__ import annotations

from maxact.errors import UnavailableError, UserError
from maxact.store.job import Job, Product

CALLS: list[str] = []


def compute(job: Job) -> Product:
    CALLS.append(job.name)
    if job.parameters.get("fail"):
        raise UserError("input.txt: asked to fail")
    if job.parameters.get("unavailable"):
        raise UnavailableError("far: cannot be had")
    text = job.parameters["text"]
    for source in job.inputs:
        text += "".join(job.path(source, name).read_text() for name in job.objects(source))
    (job.scratch / "out.txt").write_text(text)
    (job.scratch / "extra.txt").write_text(job.parameters.get("extra", ""))
    files = {name: job.scratch / name for name in ("out.txt", "extra.txt")}
    return Product(files=files, summary={"length": len(text)}, costs={"forward_passes": 1})
