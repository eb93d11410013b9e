"""`maxact import`: what `maxact export` has written, into the store."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands.options import Commands, add_store


def add(commands: Commands) -> None:
    parser = commands.add_parser("import", help="put the archive of a study into the store")
    add_store(parser)
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="what `maxact export` has written")
    parser.add_argument("--anyway", action="store_true", help="also where this checkout would compute something else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.archive.unpack import unpack
    from maxact.store.objects import Store

    print(unpack(options.file, Store(options.store), options.anyway).to_text())
    return 0
