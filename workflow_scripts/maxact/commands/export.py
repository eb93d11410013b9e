"""`maxact export`: a finished study in one file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from maxact.commands.options import Commands, add_store, add_study, shared_store


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "export", help="put a finished study into one file, for a machine without weights and text"
    )
    add_store(parser)
    add_study(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.zip", help="a new file")
    parser.add_argument("--figure", action="append", default=[], metavar="NAME", help="only what this figure needs")
    parser.add_argument(
        "--table", action="append", default=[], metavar="NAME", help="only tables (all, as one rule makes them)"
    )
    parser.add_argument("--with-measurements", action="store_true", help="also what the tables are made from")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.archive.export import export

    store = shared_store(options.store)
    made = export(options.study, store, options.out, options.figure, options.table, options.with_measurements)
    print(made.to_text())
    if not made.record.clean:
        print(
            "warning: the archive names no commit that makes the same keys; commit the changes and export again",
            file=sys.stderr,
        )
    return 0
