"""Shards of a measurement as what an interrupted process has left: `measure` goes on from there with what none of them has.

No code digest reaches this module, as it decides nothing: `measure` takes a part only if it is of the very same measurement,
and a part of any samples ends in the bytes of one run.
"""

from __future__ import annotations

from maxact.errors import UserError
from maxact.measure.parts import read_part
from maxact.store.job import Job

PART = "part.npz"
"""Of a shard, and of what the stage `measure` saves as it goes."""


def join(job: Job) -> None:
    """Merge the shards among the inputs into the file that `measure` goes on from, unless that has more samples.

    Raises:
        UserError: shards are of different measurements, or have a sample twice.
    """
    assert job.unfinished is not None
    files = {source: job.path(source, PART) for source in job.inputs if source.startswith("shard/")}
    source, *others = sorted(files)
    merged = read_part(files[source])
    for other in others:
        try:
            merged.merge(read_part(files[other]))
        except UserError as error:
            raise UserError(f"{source} and {other}: {error}") from None
    saved = job.unfinished / PART
    if not saved.exists() or len(read_part(saved).samples) < len(merged.samples):
        merged.write(saved)
