"""Which tables there are; read when the workflow is, so the standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table by name: what the report calls it, and where it files it."""

    title: str
    category: str


TABLES: dict[str, Table] = {
    "instrument_check": Table("Instrument check: planted against measured", "1 Instrument check"),
    "checkpoints": Table("Checkpoints", "2 Checkpoints"),
    "global_maxima": Table("Global maxima", "3 Maxima"),
    "int8": Table("INT-8 error", "4 INT-8"),
}
