"""What `maxact measure` and `maxact merge` tell of a measurement."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maxact.store.new_folder import new_folder, refuse_taken

if TYPE_CHECKING:
    from maxact.measure.parts import Part

TABLES = "--tables"

NONFINITE = 3
"""Exit code when an activation was NaN or infinite: a result, but one that must be noticed."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How a measurement of one checkpoint is told: as JSON, as tables."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with every site")
    parser.add_argument(
        TABLES, type=Path, metavar="FOLDER", help="a new folder for the tables of the measurement, as Parquet"
    )


def check_options(options: argparse.Namespace) -> None:
    """Refuse a folder for tables that is taken, before anything is measured.

    Raises:
        UserError: it is.
    """
    if options.tables:
        refuse_taken(options.tables, TABLES)


def tell(checkpoint: str, part: Part, options: argparse.Namespace) -> int:
    """Print a measurement, and write its tables where that is asked for."""
    from maxact.compare.sides import ABOUT, about_tables
    from maxact.shards import tables_of
    from maxact.single import nonfinite_total, to_json, to_text

    measurement = tables_of(part)
    if options.tables:
        with new_folder(options.tables, TABLES) as scratch:
            measurement.write(scratch)
            (scratch / ABOUT).write_text(about_tables(part.about), encoding="utf-8")
    print(to_json(checkpoint, measurement) if options.json else to_text(checkpoint, measurement))
    count = nonfinite_total(measurement)
    if count:
        print(f"warning: {count} activations are NaN or infinite; M is over the finite ones", file=sys.stderr)
    return NONFINITE if count else 0
